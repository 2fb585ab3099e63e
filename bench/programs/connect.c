/* The load "conn": socket, connect to a closed loopback port, close. */
#include <arpa/inet.h>
#include <sys/socket.h>

static long operate(int worker, long turn) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < 16; i++) {
        int s = socket(AF_INET, SOCK_STREAM, 0);
        connect(s, (struct sockaddr *)&to, sizeof to);
        close(s);
    }
    return 16;
}
