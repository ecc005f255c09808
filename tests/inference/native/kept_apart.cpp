// Which cores workers are kept on, on a machine of CORES cores that is made up here: each line read says on which core the
// caller is, each line written which cores every worker was given.
//
//     kept_apart THREADS CORES
#include <cstdio>
#include <cstdlib>
#include <semaphore>

#include "cores.h"

static int cores, here;

extern "C" int sched_getcpu() noexcept { return here; }

extern "C" int sched_getaffinity(pid_t, size_t, cpu_set_t* found) noexcept {
    CPU_ZERO(found);
    for (int core = 0; core < cores; ++core) CPU_SET(core, found);
    return 0;
}

extern "C" int pthread_setaffinity_np(pthread_t, size_t, const cpu_set_t* given) noexcept {
    for (int core = 0; core < cores; ++core)
        if (CPU_ISSET(core, given)) std::printf("%d", core);
    std::printf(" ");
    return 0;
}

int main(int, char** arguments) {
    cores = std::atoi(arguments[2]);
    genwerk::KeptApart kept;
    std::counting_semaphore<> done(0);
    std::vector<std::thread> workers;
    for (int thread = 1; thread < std::atoi(arguments[1]); ++thread) workers.emplace_back([&] { done.acquire(); });
    while (std::scanf("%d", &here) == 1) {
        kept.from_here(workers);
        std::puts("");
    }
    done.release(long(workers.size()));
    for (std::thread& worker : workers) worker.join();
}
