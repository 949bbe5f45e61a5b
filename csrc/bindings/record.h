// Recording: from an operation's call and its formulas to a node of the backward graph.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

#include "autograd/node.h"
#include "bindings/schema.h"

namespace ctorch::py {

// What one parameter of a formula stands for.
struct Need {
  enum What { input, output, all_grads, shape, dtype, strides, offset, attribute_missing } what;
  int index;  // of the parameter or result
  bool operator==(const Need&) const = default;
};

struct Formula {
  int param;               // the input whose gradient it gives
  Object function;         // null: declared as not differentiable
  bool wants_all_grads;    // its first parameter is `gs`, the gradients of all results
  std::vector<int> saves;  // indices into Derivative::saved, in the order of its parameters
  int member = -1;  // its place in the tuple that a function shared by several inputs gives; -1: not shared
};

struct Derivative {
  std::string node_name;
  // Names for calls in which none of some parameters holds a tensor: bits of parameters, and the name.
  std::vector<std::pair<uint32_t, std::string>> number_names;
  bool differentiable = true;  // false: results never require a gradient
  std::vector<Formula> formulas;
  std::vector<Need> saved;
};

// The registered derivative of an overload: that of "name.suffix", else that of "name". Throws if the
// formulas do not fit the signature. Null if there is none.
const Derivative* derivative_of(const Overload& ov);

// True if grad mode is on and an argument requires a gradient.
bool must_record(const Overload& ov, PyObject* const* slots);

// The node for a call about to be made. Null if the operation is not differentiable.
Ref<Node> begin_record(const Overload& ov, PyObject* const* slots, bool inplace);
// Make node the history of the result.
void end_record(const Ref<Node>& node, const Overload& ov, PyObject* const* slots, PyObject* result,
                bool inplace);

// The wrapper of a node: the one that it has, or a new one.
PyObject* wrap_node(const Ref<Node>& node);

// Note in a node's metadata where it was made, as anomaly mode asks.
void note_traceback(Node& node);
// For the garbage collector: visits what the tensor owns through a ctorch.autograd.Function that made it.
int traverse_history(const Tensor& t, visitproc visit, void* arg);

void init_record(pyb::module_& m);

}  // namespace ctorch::py
