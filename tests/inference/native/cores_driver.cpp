// Settles a pool of so many threads as often as it reads a line, and answers each with one.
//
//     cores_driver THREADS
#include <cstdio>
#include <cstdlib>

#include "pool.h"

int main(int, char** arguments) {
    genwerk::Pool pool(std::atoi(arguments[1]));
    char line[8];
    while (std::fgets(line, sizeof line, stdin)) {
        pool.settle();
        std::puts("settled");
        std::fflush(stdout);
    }
}
