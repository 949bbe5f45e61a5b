// What the door knows of an operation: its signatures, parsed from text, and how arguments become slots.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bindings/py.h"

namespace ctorch::py {

enum class Kind : uint8_t {
  tensor,         // Tensor
  tensor_list,    // Tensor[]
  operand,        // Operand: a tensor or a number
  scalar,         // Scalar: a number, or a 0-dim tensor
  integer,        // int
  int_list,       // int[]: a tuple or list; an int stands for a list of one
  floating,       // float
  float_list,     // float[]
  boolean,        // bool
  string,         // str
  dtype,          // dtype
  device,         // device
  memory_format,  // memory_format
  layout,         // layout
  generator,      // Generator
  out,            // Out: one tensor, or a tuple of them
  any,            // any: whatever Python has
};

struct Param {
  PyObject* name;    // interned
  const char* text;  // its characters
  Kind kind;
  bool optional;  // None is accepted
  bool variadic;  // the remaining positional ints may stand for this list: view(2, 3)
  bool keyword_only;
  PyObject* fallback;  // the default, null if there is none
};

inline constexpr int kMaxParams = 24;

struct Derivative;
struct Operation;
struct Overload;

// Converts slots to C++ arguments, calls the C++ function and wraps its result.
using Invoke = PyObject* (*)(const Overload&, PyObject* const* slots, Out out);

struct Overload {
  Operation* op = nullptr;
  std::string suffix;  // "dim" of "max.dim"
  std::string text;    // the signature as written
  std::vector<Param> params;
  int positional = 0;  // parameters before the *
  int out_index = -1;
  int factory_dtype = -1;          // of an operation that makes a tensor from none: where its dtype stands
  std::vector<int> tensor_params;  // which may hold tensors: tensor, tensor_list, operand, scalar
  PyTypeObject* result_type = nullptr;  // a named tuple
  Invoke invoke = nullptr;
  bool native_out = false;                 // the C++ function takes an Out
  bool is_view = false;                    // the result shares its first argument's storage
  bool mutates = false;                    // writes into its first argument and returns it
  const Derivative* derivative = nullptr;  // resolved when first recorded
};

// Where an operation appears besides as ctorch.<name>.
enum Forms : unsigned {
  kFunction = 1,         // ctorch.add
  kMethod = 2,           // Tensor.add
  kInplace = 4,          // Tensor.add_
  kInplaceFunction = 8,  // ctorch.relu_
  kView = 16,            // the result is a view of the first argument
  kMutates = 32,         // writes into its first argument; the name ends in _
  kInternal = 64,        // in ctorch._C only
  kUnary = kFunction | kMethod | kInplace | kInplaceFunction,
  kBoth = kFunction | kMethod,
  kAll = kFunction | kMethod | kInplace,
};

struct Operation {
  std::string name;
  std::string doc;
  unsigned forms = 0;
  std::vector<std::unique_ptr<Overload>> overloads;
};

// Parses "max.dim(Tensor input, int dim, bool keepdim=False, *, Out out=None) -> (Tensor values, Tensor
// indices)".
std::unique_ptr<Overload> parse_schema(const char* text);
// Whether a Python object may stand for a parameter.
bool accepts(const Param& param, PyObject* arg);
// Put the arguments of a call into slots (borrowed references), picking the first overload that takes them.
// `keep` holds what was made on the way. Null, with a TypeError set, if none does.
const Overload* bind_arguments(const Operation& op, PyObject* const* args, Py_ssize_t nargs,
                               PyObject* kwnames, PyObject** slots, Object& keep);
// All operations, by name.
Operation* find_operation(const std::string& name);
Operation* make_operation(const std::string& name);
std::vector<Operation*> all_operations();

}  // namespace ctorch::py
