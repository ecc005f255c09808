// What the library's entry points know of the code for one instruction set.
#pragma once

#include "model.h"
#include "pool.h"

namespace genwerk {

struct Runner {
    virtual ~Runner() = default;
    virtual void run(const Model&, const LayerUpdates* const*, const Cache&, const Batch&, Pool&) = 0;
};

}  // namespace genwerk

#define GENWERK_DECLARE(variant) \
    namespace variant {          \
    genwerk::Runner* make_runner(); \
    }
