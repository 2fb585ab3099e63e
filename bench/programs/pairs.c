/* The load "pairs": connects, each to another (address, port) of the loopback range, evenly over the time. One parameter: how
 * many pairs. Nothing listens there. */
#include <arpa/inet.h>
#include <sys/socket.h>

#define ADDRESSES 5003 /* a prime, so that addresses and ports are used unevenly, as in a scan */

static long operate(int worker, long turn) {
    static long done;
    static long long begin;
    long pairs = atol(parameters[0]), part = (pairs + workers - 1) / workers;
    long first = part * worker, own = first + part <= pairs ? part : pairs - first;
    long long now = nanoseconds(CLOCK_MONOTONIC);
    if (!begin)
        begin = now;
    /* Due by now; 95 % of the time, so that the last one is not cut off by the clock. */
    long due = own * ((now - begin) / 1e9 / (seconds * 0.95)) + 1, did = 0;
    for (; done < due && done < own; done++, did++) {
        long pair = first + done;
        struct sockaddr_in to = {
            .sin_family = AF_INET,
            .sin_port = htons(20000 + pair / ADDRESSES),
            .sin_addr.s_addr = htonl(0x7f010000 + pair % ADDRESSES),
        };
        int s = socket(AF_INET, SOCK_STREAM, 0);
        connect(s, (struct sockaddr *)&to, sizeof to);
        close(s);
    }
    if (!did && done >= own)
        return -1;
    usleep(1000);
    return did;
}
