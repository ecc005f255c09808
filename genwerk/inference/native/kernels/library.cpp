// The library's entry points, in C, so that one build serves any Python and any PyTorch.
#include <cstring>
#include <memory>

#include "engine.h"

GENWERK_DECLARE(portable)
#if defined(__x86_64__)
GENWERK_DECLARE(avx2)
GENWERK_DECLARE(avx512)
#endif

namespace {

struct Variant {
    const char* name;
    genwerk::Runner* (*make)();
    bool usable;
};

// Best first.
const Variant* variants() {
    static const Variant known[] = {
#if defined(__x86_64__)
        {"avx512", avx512::make_runner,
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni")},
        {"avx2", avx2::make_runner, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
        {"portable", portable::make_runner, true},
        {nullptr, nullptr, false},
    };
    return known;
}

struct Engine {
    Engine(genwerk::Runner* runner, int threads) : runner(runner), pool(threads) {}
    std::unique_ptr<genwerk::Runner> runner;
    genwerk::Pool pool;
};

}  // namespace

extern "C" {

// The i-th instruction set this processor has, best first; null after the last.
const char* genwerk_variant(int index) {
    for (const Variant* one = variants(); one->name; ++one)
        if (one->usable && index-- == 0) return one->name;
    return nullptr;
}

// Null for a variant that this processor lacks.
void* genwerk_open(const char* variant, int threads) {
    for (const Variant* one = variants(); one->name; ++one)
        if (one->usable && !std::strcmp(one->name, variant)) return new Engine(one->make(), threads);
    return nullptr;
}

void genwerk_close(void* engine) { delete static_cast<Engine*>(engine); }

// One step; see model.h. `updates[i]` points to the layers' updates of adapter i.
void genwerk_step(void* engine, const Model* model, const LayerUpdates* const* updates, const Cache* cache,
                  const Batch* batch) {
    Engine& one = *static_cast<Engine*>(engine);
    one.runner->run(*model, updates, *cache, *batch, one.pool);
}

}  // extern "C"
