// Where threads run on a machine that others use too. Linux only; elsewhere nothing is asked for.
//
// Threads that often sleep are woken on the core of the one that wakes them, and stay there while another process has a
// core of its own: then all of a step is done on one core. So workers are kept off the caller's core where there is none
// to spare. A thread that lost its core gets it back the sooner the shorter the slices of time it asks for (Linux 6.12
// and later). And where nobody waits for it, a worker offers its core to others once in a while, before it is taken away
// in the middle of a piece.
#pragma once

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace genwerk {

// Linux's sched_attr: how a thread is scheduled.
struct Scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice, deadline, period;  // ns
};

// For the calling thread: slices of 0.1 ms, the shortest there are; all else stays, and who chose another policy than the
// usual one keeps what it chose. Where it is refused, nothing is lost.
static inline void ask_for_short_slices() {
#if defined(__linux__) && defined(SYS_sched_getattr) && defined(SYS_sched_setattr)
    Scheduling own{};
    if (syscall(SYS_sched_getattr, 0, &own, sizeof own, 0) != 0 || own.policy != SCHED_OTHER) return;
    own.slice = 100'000;
    syscall(SYS_sched_setattr, 0, &own, 0);
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

// Keeps workers off the core on which the caller is, on the other cores that the thread may use which makes this.
class KeptApart {
public:
#ifdef __linux__
    KeptApart() {
        if (sched_getaffinity(0, sizeof cores_, &cores_) != 0) CPU_ZERO(&cores_);
    }

    void from_here(std::vector<std::thread>& workers) {
        const int here = sched_getcpu(), spare = CPU_COUNT(&cores_) - int(workers.size()) - 1;
        if (here == here_ || spare < 0 || spare > 1) return;  // too few cores for it, or enough without it
        here_ = here;
        cpu_set_t others = cores_;
        CPU_CLR(here, &others);
        for (std::thread& worker : workers) pthread_setaffinity_np(worker.native_handle(), sizeof others, &others);
    }

private:
    cpu_set_t cores_;
    int here_ = -1;
#else
    void from_here(std::vector<std::thread>&) {}
#endif
};

}  // namespace genwerk
