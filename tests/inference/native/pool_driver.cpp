// Hammers genwerk::Pool with many small loops and checks that each piece is done once and seen when the loop returns.
//
//     pool_driver THREADS ROUNDS
//
// Built with -DPLANTED its pieces race on purpose, so that a thread sanitiser that sees nothing is found out.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "pool.h"

namespace {

constexpr int MOST = 40;
volatile uint64_t idle_work = 0;

// Long enough that workers stop spinning and sleep.
void linger() {
    for (int i = 0; i < 200000; ++i) idle_work = idle_work + 1;
}

int fail(const char* what, int round) {
    std::fprintf(stderr, "%s in round %d\n", what, round);
    return 1;
}

int hammer(int threads, int rounds) {
    auto pool = std::make_unique<genwerk::Pool>(threads);
    std::vector<int> hits(MOST), squares(MOST);
    [[maybe_unused]] int shared = 0;
    uint32_t chance = 12345;
    for (int round = 0; round < rounds; ++round) {
        chance = chance * 1664525u + 1013904223u;
        const int count = int((chance >> 16) % (MOST + 1));
        std::fill(hits.begin(), hits.end(), 0);
        if (round % 2) {
            pool->settle();
            pool->run(count, [&hits](int i) { ++hits[size_t(i)]; });
        } else {
            const int base = round;  // another body, another context, on this loop's stack
            pool->run(count, [&, base](int i) {
                ++hits[size_t(i)];
                squares[size_t(i)] = base + i * i;
#ifdef PLANTED
                ++shared;
#endif
            });
            for (int i = 0; i < count; ++i)
                if (squares[size_t(i)] != base + i * i) return fail("a result was not seen", round);
        }
        for (int i = 0; i < MOST; ++i)
            if (hits[size_t(i)] != (i < count)) return fail("a piece was not done once", round);
        if (chance >> 20 == 0) linger();
        if (chance >> 21 == 1) pool = std::make_unique<genwerk::Pool>(threads);
    }
    return 0;
}

// Ends of pools whose workers may not have begun, or sleep.
void open_and_close(int threads, int times) {
    for (int i = 0; i < times; ++i) {
        genwerk::Pool pool(threads);
        if (i % 8 == 0) linger();
    }
}

// A piece that takes its time while the others are long done, then pieces that do not wait for it.
int uneven(int threads, int rounds) {
    genwerk::Pool pool(threads);
    std::vector<int> done(size_t(threads) + 1);
    for (int round = 1; round <= rounds; ++round) {
        pool.run(threads + 1, [&](int i) {
            if (i == 0) linger();
            done[size_t(i)] = round;
        });
        for (int one : done)
            if (one != round) return fail("a loop returned before its last piece was done", round);
    }
    return 0;
}

}  // namespace

int main(int, char** arguments) {
    const int threads = std::atoi(arguments[1]), rounds = std::atoi(arguments[2]);
    open_and_close(threads, 50);
    if (uneven(threads, 50)) return 1;
    return hammer(threads, rounds);
}
