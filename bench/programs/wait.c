/* Says "ready" and executes its arguments when stdin has a byte: who started it can attach counters to its process first. */
#include <unistd.h>

int main(int count, char **arguments) {
    char byte;
    if (count < 2 || write(1, "ready\n", 6) != 6 || read(0, &byte, 1) != 1)
        return 2;
    execvp(arguments[1], arguments + 1);
    return 127;
}
