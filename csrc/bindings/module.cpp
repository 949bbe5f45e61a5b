// The compiled module. Each family of operations registers itself; see def_op.h.
#include <pybind11/pybind11.h>

#include "bindings/def_op.h"
#include "bindings/py.h"
#include "core/cpu_info.h"

// One line per family; the order does not matter.
#define CT_OP_FAMILIES(X) \
  X(attention)            \
  X(conv)                 \
  X(create)               \
  X(edge_pad)             \
  X(elementwise)          \
  X(index)                \
  X(indexing)             \
  X(join)                 \
  X(loss)                 \
  X(matmul)               \
  X(norm)                 \
  X(patches)              \
  X(pool)                 \
  X(random)               \
  X(reduce)               \
  X(resample)             \
  X(rnn)                  \
  X(softmax)              \
  X(sort)                 \
  X(update)               \
  X(view)

namespace ctorch::py {

#define CT_DECLARE(family) void init_ops_##family();
CT_OP_FAMILIES(CT_DECLARE)
#undef CT_DECLARE
void init_generator(pyb::module_& m);
void init_runtime(pyb::module_& m);

namespace {

std::string forms_of(const Operation& op) {
  std::string text;
  if (op.forms & kFunction) text += 'f';
  if (op.forms & kMethod) text += 'm';
  if (op.forms & kInplace) text += 'i';
  if (op.forms & kInplaceFunction) text += 'I';
  if (op.forms & kInternal) text += '_';
  return text;
}

// (name, signatures, doc, forms) of every operation: what the stub and the documentation are made from.
// forms: f function, m method, i in-place method, I in-place function, _ in this module only.
pyb::list op_schemas() {
  pyb::list all;
  for (const Operation* op : all_operations()) {
    pyb::list signatures;
    for (const auto& ov : op->overloads) signatures.append(ov->text);
    all.append(pyb::make_tuple(op->name, signatures, op->doc, forms_of(*op)));
  }
  return all;
}

}  // namespace
}  // namespace ctorch::py

PYBIND11_MODULE(_C, m) {
  using namespace ctorch::py;
  m.doc() = "The compiled part of ctorch.";
  init_constants(m);
  init_generator(m);
  init_tensor_type(m);
  init_autograd(m);
  init_interop(m);
  init_runtime(m);
#define CT_INIT(family) init_ops_##family();
  CT_OP_FAMILIES(CT_INIT)
#undef CT_INIT
  publish_operations(m);
  m.def("_op_schemas", &op_schemas, "(name, signatures, doc, forms) of every operation.");
}
