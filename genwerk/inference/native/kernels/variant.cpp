// Compiled once per instruction set, with GENWERK_VARIANT naming it.
#include "step.h"
#include "engine.h"

namespace GENWERK_VARIANT {

struct Runner : genwerk::Runner {
    void run(const Model& model, const LayerUpdates* const* updates, const Cache& cache, const Batch& batch,
             genwerk::Pool& pool) override {
        Step(model, updates, cache, batch, scratch, pool).run();
    }

    Scratch scratch;
};

genwerk::Runner* make_runner() { return new Runner; }

}  // namespace GENWERK_VARIANT
