// The library's entry points, in C, so that one build serves any Python and any PyTorch.
#include "encoder.h"
#include "step.h"

namespace {

struct Engine {
    explicit Engine(int threads) : pool(threads) {}
    genwerk::Pool pool;
    genwerk::Scratch scratch;
};

}  // namespace

extern "C" {

void* genwerk_open(int threads) { return new Engine(threads); }

void genwerk_close(void* engine) { delete static_cast<Engine*>(engine); }

// One step; see model.h. `updates[i]` points to the layers' updates of adapter i.
void genwerk_step(void* engine, const Model* model, const LayerUpdates* const* updates, const Cache* cache,
                  const Batch* batch) {
    Engine& one = *static_cast<Engine*>(engine);
    one.pool.settle();
    genwerk::Step(*model, updates, *cache, *batch, one.scratch, one.pool).run();
}

// Vectors of texts; see encoder.h.
void genwerk_encode(void* engine, const EncoderModel* model, const Texts* texts) {
    Engine& one = *static_cast<Engine*>(engine);
    one.pool.settle();
    genwerk::encode(*model, *texts, one.pool);
}

}  // extern "C"
