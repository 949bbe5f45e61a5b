// Making tensors: from sizes, from Python data, from other tensors.
#include "bindings/def_op.h"
#include "bindings/tensor_data.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/promote.h"

namespace ctorch::py {
namespace {

using OptDType = std::optional<DType>;
using OptDevice = std::optional<Device>;
using OptFormat = std::optional<MemoryFormat>;

Tensor with_grad(Tensor t, bool requires_grad) {
  if (requires_grad) {
    check(is_differentiable(t.dtype()),
          "Only Tensors of floating point and complex dtype can require gradients, got ", t.dtype());
    t.impl()->requires_grad = true;
  }
  return t;
}

// `layout` and `pin_memory` are accepted as PyTorch accepts them: there is one layout, and CPU memory needs
// no pinning.
#define CT_OPTIONS                                                                               \
  "dtype? dtype=None, layout? layout=None, device? device=None, bool requires_grad=False, bool " \
  "pin_memory=False"

Tensor empty_(IntList size, OptDType dtype, PyObject*, OptDevice device, bool requires_grad, bool,
              OptFormat format) {
  Tensor t = empty(size, dtype.value_or(default_dtype()), device.value_or(Device{}));
  if (format && *format >= MemoryFormat::channels_last) t = ops::empty_like_in(t, *format);
  return with_grad(t, requires_grad);
}
Tensor empty_strided_(IntList size, IntList stride, OptDType dtype, PyObject*, OptDevice device,
                      bool requires_grad, bool) {
  return with_grad(empty_strided(size, stride, dtype.value_or(default_dtype()), device.value_or(Device{})),
                   requires_grad);
}
Tensor empty_permuted(IntList size, IntList physical_layout, OptDType dtype, PyObject*, OptDevice device,
                      bool requires_grad, bool) {
  Dims order = wrap_dims(physical_layout, static_cast<int64_t>(size.size()), "empty_permuted", false),
       strides(static_cast<int64_t>(size.size()));
  check(order.size() == strides.size(),
        "Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = ",
        size.size(), " is not equal to len(physical_layout) = ", physical_layout.size());
  int64_t step = 1;
  for (int64_t i = order.size() - 1; i >= 0; --i) {
    strides[order[i]] = step;
    step *= size[order[i]];
  }
  return with_grad(empty_strided(size, strides, dtype.value_or(default_dtype()), device.value_or(Device{})),
                   requires_grad);
}
Tensor zeros(IntList size, OptDType dtype, PyObject*, OptDevice device, bool requires_grad, bool) {
  return with_grad(ops::zero_(empty(size, dtype.value_or(default_dtype()), device.value_or(Device{}))),
                   requires_grad);
}
Tensor ones(IntList size, OptDType dtype, PyObject*, OptDevice device, bool requires_grad, bool) {
  return with_grad(ops::full(size, Scalar(1), dtype.value_or(default_dtype()), device.value_or(Device{})),
                   requires_grad);
}
Tensor full(IntList size, const Scalar& value, OptDType dtype, PyObject*, OptDevice device,
            bool requires_grad, bool) {
  return with_grad(ops::full(size, value, dtype.value_or(value.dtype()), device.value_or(Device{})),
                   requires_grad);
}

#define CT_LIKE_OPTIONS CT_OPTIONS ", memory_format? memory_format=None"
Tensor empty_like_(const Tensor& input, OptDType dtype, PyObject*, OptDevice, bool requires_grad, bool,
                   OptFormat format) {
  return with_grad(ops::empty_like_in(input, format.value_or(MemoryFormat::preserve), dtype), requires_grad);
}
Tensor zeros_like(const Tensor& input, OptDType dtype, PyObject*, OptDevice, bool requires_grad, bool,
                  OptFormat format) {
  return with_grad(ops::zero_(ops::empty_like_in(input, format.value_or(MemoryFormat::preserve), dtype)),
                   requires_grad);
}
Tensor ones_like(const Tensor& input, OptDType dtype, PyObject*, OptDevice, bool requires_grad, bool,
                 OptFormat format) {
  return with_grad(
      ops::fill_(ops::empty_like_in(input, format.value_or(MemoryFormat::preserve), dtype), Scalar(1)),
      requires_grad);
}
Tensor full_like(const Tensor& input, const Scalar& value, OptDType dtype, PyObject*, OptDevice,
                 bool requires_grad, bool, OptFormat format) {
  return with_grad(
      ops::fill_(ops::empty_like_in(input, format.value_or(MemoryFormat::preserve), dtype), value),
      requires_grad);
}

Tensor new_empty(const Tensor& input, IntList size, OptDType dtype, PyObject*, OptDevice, bool requires_grad,
                 bool) {
  return with_grad(empty(size, dtype.value_or(input.dtype()), input.device()), requires_grad);
}
Tensor new_empty_strided(const Tensor& input, IntList size, IntList stride, OptDType dtype, PyObject*,
                         OptDevice, bool requires_grad, bool) {
  return with_grad(empty_strided(size, stride, dtype.value_or(input.dtype()), input.device()), requires_grad);
}
Tensor new_zeros(const Tensor& input, IntList size, OptDType dtype, PyObject*, OptDevice, bool requires_grad,
                 bool) {
  return with_grad(ops::zero_(empty(size, dtype.value_or(input.dtype()), input.device())), requires_grad);
}
Tensor new_ones(const Tensor& input, IntList size, OptDType dtype, PyObject*, OptDevice, bool requires_grad,
                bool) {
  return with_grad(ops::full(size, Scalar(1), dtype.value_or(input.dtype()), input.device()), requires_grad);
}
Tensor new_full(const Tensor& input, IntList size, const Scalar& value, OptDType dtype, PyObject*, OptDevice,
                bool requires_grad, bool) {
  return with_grad(ops::full(size, value, dtype.value_or(input.dtype()), input.device()), requires_grad);
}

Tensor arange_to(const Scalar& end, OptDType dtype, PyObject*, OptDevice device, bool requires_grad, bool) {
  return with_grad(ops::arange(Scalar(0), end, Scalar(1), dtype, device.value_or(Device{})), requires_grad);
}
Tensor arange(const Scalar& start, const Scalar& end, const Scalar& step, OptDType dtype, PyObject*,
              OptDevice device, bool requires_grad, bool) {
  return with_grad(ops::arange(start, end, step, dtype, device.value_or(Device{})), requires_grad);
}
Tensor linspace(const Scalar& start, const Scalar& end, int64_t steps, OptDType dtype, PyObject*,
                OptDevice device, bool requires_grad, bool) {
  return with_grad(ops::linspace(start, end, steps, dtype, device.value_or(Device{})), requires_grad);
}
// Bounds that are tensors: of one element each.
Tensor linspace_tensors(const Operand& start, const Operand& end, int64_t steps, OptDType dtype,
                        PyObject* layout, OptDevice device, bool requires_grad, bool pin) {
  auto bound = [](const Operand& o) {
    if (!o.is_tensor()) return o.scalar();
    check(o.tensor().dim() == 0, "linspace only supports 0-dimensional start and end tensors, but got ",
          o.tensor().dim(), " dimensions");
    return item(o.tensor());
  };
  return linspace(bound(start), bound(end), steps, dtype, layout, device, requires_grad, pin);
}
Tensor logspace(const Scalar& start, const Scalar& end, int64_t steps, double base, OptDType dtype, PyObject*,
                OptDevice device, bool requires_grad, bool) {
  return with_grad(ops::logspace(start, end, steps, base, dtype, device.value_or(Device{})), requires_grad);
}
Tensor eye(int64_t n, std::optional<int64_t> m, OptDType dtype, PyObject*, OptDevice device,
           bool requires_grad, bool) {
  return with_grad(ops::eye(n, m.value_or(n), dtype.value_or(default_dtype()), device.value_or(Device{})),
                   requires_grad);
}
Tensor scalar_tensor_(const Scalar& s, OptDType dtype, PyObject*, OptDevice device, bool requires_grad,
                      bool) {
  return with_grad(scalar_tensor(s, dtype.value_or(default_dtype()), device.value_or(Device{})),
                   requires_grad);
}

// ---- conversions
// ------------------------------------------------------------------------------------------------------

Tensor to_options(const Tensor& input, OptDType dtype, bool copy, OptFormat format) {
  DType dt = dtype.value_or(input.dtype());
  bool same_format =
      !format || *format == MemoryFormat::preserve || ops::contiguous_in(input, *format).is_same(input);
  if (!copy && dt == input.dtype() && same_format) return input;
  return ops::copy_(ops::empty_like_in(input, format.value_or(MemoryFormat::preserve), dt), input);
}
Tensor to_dtype_with(const Tensor& input, DType dtype, bool, bool copy, OptFormat format) {
  return to_options(input, dtype, copy, format);
}
Tensor to_device(const Tensor& input, OptDevice, OptDType dtype, bool, bool copy, OptFormat format) {
  return to_options(input, dtype, copy, format);
}
Tensor to_other(const Tensor& input, const Tensor& other, bool, bool copy, OptFormat format) {
  return to_options(input, other.dtype(), copy, format);
}
Tensor plain_to_dtype(const Tensor& input, DType dtype) { return ops::to_dtype(input, dtype); }
Tensor clone(const Tensor& input, OptFormat format) {
  return ops::clone_in(input, format.value_or(MemoryFormat::preserve));
}
Tensor contiguous(const Tensor& input, OptFormat format) {
  return ops::contiguous_in(input, format.value_or(MemoryFormat::contiguous));
}
Tensor cpu(const Tensor& input, OptFormat format) { return to_options(input, std::nullopt, false, format); }
Tensor resize_(const Tensor& self, IntList size, OptFormat) { return ops::resize_(self, size); }
Tensor resize_as_(const Tensor& self, const Tensor& other, OptFormat) {
  return ops::resize_(self, other.sizes());
}

template <DType D>
Tensor as_type(const Tensor& input, OptFormat format) {
  return to_options(input, D, false, format);
}
template <DType D>
void def_type(const char* name) {
  std::string schema = std::string(name) + "(Tensor input, *, memory_format? memory_format=None) -> Tensor";
  def_op<&as_type<D>>((new std::string(schema))->c_str(),
                      "The elements converted to a dtype; input itself if it has that dtype.", kMethod);
}

DType result_type_(const Operand& a, const Operand& b) { return ops::result_type(a, b); }
DType promote_types_(DType a, DType b) { return promote_types(a, b); }
bool can_cast_(DType from, DType to) { return can_cast(from, to); }

}  // namespace

void init_ops_create() {
  constexpr unsigned fn = kFunction, method = kMethod;
  def_op<&tensor_from_data>(
      "tensor(any data, *, dtype? dtype=None, device? device=None, bool requires_grad=False, bool "
      "pin_memory=False) -> Tensor",
      "A new tensor with a copy of data: a number, nested sequences, an array, a tensor. The dtype is that "
      "of the values unless given.",
      fn);
  def_op<&as_tensor_of_data>(
      "as_tensor(any data, dtype? dtype=None, device? device=None) -> Tensor",
      "data as a tensor, sharing the memory of an array or tensor where the dtype allows it.", fn);
  def_op<&as_tensor_of_data_options>(
      "asarray(any obj, *, dtype? dtype=None, device? device=None, bool? copy=None, bool "
      "requires_grad=False) -> Tensor",
      "obj as a tensor; copy=True always copies, copy=False never.", fn);
  def_op<&new_tensor>(
      "new_tensor(Tensor input, any data, *, dtype? dtype=None, device? device=None, bool "
      "requires_grad=False, layout? layout=None, bool pin_memory=False) -> Tensor",
      "A new tensor from data, of the dtype of input unless given.", method);
  def_op<&empty_>("empty(int... size, *, " CT_OPTIONS
                  ", memory_format? memory_format=None, Out out=None) -> Tensor",
                  "An uninitialised tensor.", fn);
  def_op<&empty_strided_>("empty_strided(int[] size, int[] stride, *, " CT_OPTIONS ") -> Tensor",
                          "An uninitialised tensor with given strides, in elements.", fn);
  def_op<&empty_permuted>("empty_permuted(int[] size, int[] physical_layout, *, " CT_OPTIONS ") -> Tensor",
                          "An uninitialised tensor whose dims lie in memory in the order of physical_layout.",
                          fn);
  def_op<&zeros>("zeros(int... size, *, " CT_OPTIONS ", Out out=None) -> Tensor", "A tensor of zeros.", fn);
  def_op<&ones>("ones(int... size, *, " CT_OPTIONS ", Out out=None) -> Tensor", "A tensor of ones.", fn);
  def_op<&full>("full(int[] size, Scalar fill_value, *, " CT_OPTIONS ", Out out=None) -> Tensor",
                "A tensor filled with a value, of the value's dtype unless given.", fn);
  def_op<&empty_like_>("empty_like(Tensor input, *, " CT_LIKE_OPTIONS ") -> Tensor",
                       "An uninitialised tensor like input.", fn);
  def_op<&zeros_like>("zeros_like(Tensor input, *, " CT_LIKE_OPTIONS ") -> Tensor",
                      "Zeros in the shape of input.", fn);
  def_op<&ones_like>("ones_like(Tensor input, *, " CT_LIKE_OPTIONS ") -> Tensor",
                     "Ones in the shape of input.", fn);
  def_op<&full_like>("full_like(Tensor input, Scalar fill_value, *, " CT_LIKE_OPTIONS ") -> Tensor",
                     "A value in the shape of input.", fn);
  def_op<&new_empty>("new_empty(Tensor input, int... size, *, " CT_OPTIONS ") -> Tensor",
                     "empty() with the dtype of input.", method);
  def_op<&new_empty_strided>("new_empty_strided(Tensor input, int[] size, int[] stride, " CT_OPTIONS
                             ") -> Tensor",
                             "empty_strided() with the dtype of input.", method);
  def_op<&new_zeros>("new_zeros(Tensor input, int... size, *, " CT_OPTIONS ") -> Tensor",
                     "zeros() with the dtype of input.", method);
  def_op<&new_ones>("new_ones(Tensor input, int... size, *, " CT_OPTIONS ") -> Tensor",
                    "ones() with the dtype of input.", method);
  def_op<&new_full>("new_full(Tensor input, int[] size, Scalar fill_value, *, " CT_OPTIONS ") -> Tensor",
                    "full() with the dtype of input.", method);
  def_op<&arange_to>(
      "arange(Scalar end, *, " CT_OPTIONS ", Out out=None) -> Tensor",
      "The numbers from start (0) up to, without, end in steps of step (1). int64 if all are integers.", fn);
  def_op<&arange>("arange.start(Scalar start, Scalar end, Scalar step=1, *, " CT_OPTIONS
                  ", Out out=None) -> Tensor",
                  "", fn);
  def_op<&linspace>("linspace(Scalar start, Scalar end, int steps, *, " CT_OPTIONS
                    ", Out out=None) -> Tensor",
                    "`steps` evenly spaced numbers from start to end, both included.", fn);
  def_op<&linspace_tensors>("linspace.tensors(Operand start, Operand end, int steps, *, " CT_OPTIONS
                            ", Out out=None) -> Tensor",
                            "", fn);
  def_op<&logspace>("logspace(Scalar start, Scalar end, int steps, float base=10.0, *, " CT_OPTIONS
                    ", Out out=None) -> Tensor",
                    "base ** linspace(start, end, steps).", fn);
  def_op<&eye>("eye(int n, int? m=None, *, " CT_OPTIONS ", Out out=None) -> Tensor",
               "An n x m matrix with ones on the diagonal.", fn);
  def_op<&scalar_tensor_>("scalar_tensor(Scalar s, *, " CT_OPTIONS ") -> Tensor", "A 0-dim tensor.", fn);
  def_op<&ops::complex>("complex(Tensor real, Tensor imag, *, Out out=None) -> Tensor",
                        "A complex tensor from its parts.", fn);

  def_op<&to_dtype_with>(
      "to.dtype(Tensor input, dtype dtype, bool non_blocking=False, bool copy=False, *, memory_format? "
      "memory_format=None) -> Tensor",
      "The elements with another dtype, device or memory format; input itself if nothing changes and copy is "
      "False.",
      method);
  def_op<&to_device>(
      "to.device(Tensor input, device? device=None, dtype? dtype=None, bool non_blocking=False, bool "
      "copy=False, *, memory_format? memory_format=None) -> Tensor",
      "", method);
  def_op<&to_other>(
      "to.other(Tensor input, Tensor other, bool non_blocking=False, bool copy=False, *, memory_format? "
      "memory_format=None) -> Tensor",
      "", method);
  def_op<&plain_to_dtype>("_to_dtype(Tensor input, dtype dtype) -> Tensor",
                          "The elements converted to a dtype.", kInternal);
  def_op<&clone>("clone(Tensor input, *, memory_format? memory_format=None) -> Tensor",
                 "A copy, through which gradients flow.", kBoth);
  def_op<&contiguous>("contiguous(Tensor input, *, memory_format? memory_format=None) -> Tensor",
                      "input itself if its elements lie row by row, else a copy that does.", method);
  def_op<&cpu>("cpu(Tensor input, memory_format? memory_format=None) -> Tensor",
               "The tensor on the CPU: itself.", method);
  def_op<&resize_>("resize_(Tensor input, int... size, *, memory_format? memory_format=None) -> Tensor",
                   "Change the shape in place; new elements are uninitialised.", kMethod | kMutates);
  def_op<&resize_as_>(
      "resize_as_(Tensor input, Tensor the_template, *, memory_format? memory_format=None) -> Tensor",
      "resize_() to the shape of another tensor.", kMethod | kMutates);
  def_type<DType::float32>("float");
  def_type<DType::float64>("double");
  def_type<DType::float16>("half");
  def_type<DType::bfloat16>("bfloat16");
  def_type<DType::int64>("long");
  def_type<DType::int32>("int");
  def_type<DType::int16>("short");
  def_type<DType::int8>("char");
  def_type<DType::uint8>("byte");
  def_type<DType::boolean>("bool");
  def_type<DType::complex64>("cfloat");
  def_type<DType::complex128>("cdouble");

  def_op<&result_type_>("result_type(Operand tensor1, Operand tensor2) -> dtype",
                        "The dtype of an operation on two tensors or numbers.", fn);
  def_op<&promote_types_>("promote_types(dtype type1, dtype type2) -> dtype",
                          "The smallest dtype that holds the values of both.", fn);
  def_op<&can_cast_>("can_cast(dtype from_, dtype to) -> bool",
                     "Whether values of one dtype may be written to a tensor of another.", fn);
}

}  // namespace ctorch::py
