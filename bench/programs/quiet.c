/* A container that does nothing. */
#include <unistd.h>

int main(void) {
    for (;;)
        pause();
}
