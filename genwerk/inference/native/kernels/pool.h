// Threads that share one loop at a time: whoever is free takes the next piece, and who finds nothing to do soon sleeps.
//
// A step of a small model is some 150 short loops. Waking a sleeping thread costs more than such a loop, so waiting
// starts with a short spin; on a machine shared with others a long spin would take time from them, so it ends in sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "cores.h"

namespace genwerk {

class Pool {
public:
    explicit Pool(int threads) {
        for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
    }

    ~Pool() {
        publish(STOP);
        for (std::thread& worker : workers_) worker.join();
    }

    // Call before the loops of a step, from the thread that runs them.
    void settle() {
        static thread_local const bool asked = (ask_for_short_slices(), true);
        (void)asked;
        apart_.from_here(workers_);
    }

    int threads() const { return int(workers_.size()) + 1; }

    // body(i) once for each i of 0..count (below 2^20); returns when all are done. Not reentrant.
    template <class Body>
    void run(int count, const Body& body) {
        if (workers_.empty() || count <= 1) {
            for (int i = 0; i < count; ++i) body(i);
            return;
        }
        call_ = [](const void* context, int i) { (*static_cast<const Body*>(context))(i); };
        context_ = &body;
        finished_.store(0, std::memory_order_relaxed);
        round_ = (round_ + 1) & 0xfffff;
        publish(uint64_t(round_) << 40 | uint64_t(count) << 20);
        take();
        await(finished_, [count](int finished) { return finished == count; });
    }

private:
    // One word says all: bits 40.. the round, 20..40 how many pieces it has, ..20 the next piece. A piece is claimed by
    // raising the word, which fails if the round is over; once claimed, the round cannot end before the piece is done,
    // so `call_` and `context_` are the round's. A worker that sleeps or is held up elsewhere is never waited for.
    static constexpr uint64_t FIELD = 0xfffff, STOP = ~uint64_t(0);
    static constexpr int SPINS = 400;  // about 20 µs where a pause is long (Intel since Skylake), less elsewhere

    void publish(uint64_t job) {
        job_.store(job, std::memory_order_release);
        job_.notify_all();
    }

    static bool is_open(uint64_t job) { return job == STOP || (job & FIELD) < (job >> 20 & FIELD); }

    void take() {
        for (uint64_t job = job_.load(std::memory_order_acquire); job != STOP && is_open(job);) {
            if (!job_.compare_exchange_weak(job, job + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
            const int count = int(job >> 20 & FIELD);
            call_(context_, int(job & FIELD));
            if (finished_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) finished_.notify_one();
            job = job_.load(std::memory_order_acquire);
        }
    }

    void work() {
        ask_for_short_slices();
        for (Offer offer;;) {
            await(job_, is_open);
            offer.now_and_then();
            if (job_.load(std::memory_order_acquire) == STOP) return;
            take();
        }
    }

    template <class T, class Done>
    static void await(std::atomic<T>& value, const Done& done) {
        for (int spin = 0; spin < SPINS; ++spin) {
            if (done(value.load(std::memory_order_acquire))) return;
            pause();
        }
        for (T now; !done(now = value.load(std::memory_order_acquire));) value.wait(now, std::memory_order_acquire);
    }

    static void pause() {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }

    std::vector<std::thread> workers_;
    KeptApart apart_;
    std::atomic<uint64_t> job_{0};
    std::atomic<int> finished_{0};
    uint32_t round_ = 0;
    void (*call_)(const void*, int) = nullptr;
    const void* context_ = nullptr;
};

}  // namespace genwerk
