// Where threads run on a machine that others use too. Linux only; elsewhere nothing is asked for.
//
// Threads that often sleep are woken on the core of the one that wakes them, and stay there while another process has a
// core of its own: then all of a step is done on one core. So workers are kept off the caller's core. A thread that lost
// its core gets it back the sooner the shorter the slices of time it asks for (Linux 6.12 and later). And where nobody
// waits for it, a worker offers its core to others once in a while, before it is taken away in the middle of a piece.
#pragma once

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace genwerk {

// For the calling thread: slices of 0.1 ms, the shortest there are. Where it is refused, nothing is lost.
static inline void ask_for_short_slices() {
#if defined(__linux__) && defined(SYS_sched_setattr)
    struct {
        uint32_t size = sizeof(*this), policy = SCHED_OTHER;
        uint64_t flags = 0;
        int32_t nice = getpriority(PRIO_PROCESS, 0);
        uint32_t priority = 0;
        uint64_t slice = 100'000, deadline = 0, period = 0;  // ns
    } asked;
    syscall(SYS_sched_setattr, 0, &asked, 0);
#endif
}

// Offers the calling thread's core to whoever waits for one, a millisecond after the last offer.
class Offer {
public:
    void now_and_then() {
        if (std::chrono::steady_clock::now() - last_ < std::chrono::milliseconds(1)) return;
        std::this_thread::yield();
        last_ = std::chrono::steady_clock::now();
    }

private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Keeps workers on the cores that the process may use, but the one on which the caller is.
class KeptApart {
public:
    void from_here(std::vector<std::thread>& workers) {
#ifdef __linux__
        const int here = sched_getcpu();
        cpu_set_t cores;
        if (here == here_ || sched_getaffinity(0, sizeof cores, &cores) != 0) return;
        here_ = here;
        if (CPU_COUNT(&cores) <= int(workers.size())) return;  // fewer cores than threads
        CPU_CLR(here, &cores);
        for (std::thread& worker : workers) pthread_setaffinity_np(worker.native_handle(), sizeof cores, &cores);
#endif
    }

private:
    [[maybe_unused]] int here_ = -1;
};

}  // namespace genwerk
