// One time step of a recurrent cell over a batch of rows, forward and backward. The products with the weights
// are not here: see ops/rnn.cpp, which runs the steps.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

enum class RnnCell : int8_t { lstm, gru, tanh, relu };

// Row-major operands of `rows` rows, float32 or float64; H is the hidden size. `gates` holds on entry what
// goes into the activations and on return what backward needs of them:
//   lstm  (rows, 4 H)  i, f, g, o;  c' = f c + i g,  h' = o tanh(c')
//   gru   (rows, 3 H)  r, z, n;  h' = n + z (h - n). On entry they are those of the input; `projected`
//                      (rows, 3 H) has those of the hidden state, of which n's part, which r multiplies, is
//                      kept in `kept` (rows, H)
//   tanh, relu  (rows, H)  h' itself
struct RnnStepArgs {
  RnnCell cell;
  DType dtype;
  int64_t rows, hidden;
  void* gates;
  const void* projected = nullptr;  // gru
  void* kept = nullptr;             // gru
  const void* h = nullptr;          // gru: (rows, H) before the step
  const void* c = nullptr;          // lstm: (rows, H) before the step
  void* c_out = nullptr;            // lstm: after it; forward writes it, backward reads it
  void* h_out = nullptr;            // forward: (rows, H)
  // Backward: the gradient of h' in one part or, with that which comes through later steps, in two; that of
  // c', which becomes that of c; and the results: of the inputs of the activations, (rows, 4 H | 3 H | H);
  // gru: of `projected`, and the part of h's gradient that does not come through it.
  const void* grad_h = nullptr;
  const void* grad_h_later = nullptr;
  void* grad_c = nullptr;
  void* grad_gates = nullptr;
  void* grad_projected = nullptr;
  void* grad_h_direct = nullptr;
};

struct RnnTable {
  void (*forward)(const RnnStepArgs&);
  void (*backward)(const RnnStepArgs&);
};

}  // namespace ctorch
