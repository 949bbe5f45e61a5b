#include "bindings/def_op.h"
#include "ops/copy.h"
#include "ops/random.h"

namespace ctorch::py {
namespace {

// Arguments that creation functions share and that change nothing here: the layout is always strided, and
// there is no pinned memory.
using Layout = PyObject*;
using DTypeArg = std::optional<DType>;
using DeviceArg = std::optional<Device>;
using FormatArg = std::optional<MemoryFormat>;

Tensor with_grad(Tensor t, bool requires_grad) {
  if (requires_grad) {
    check(is_differentiable(t.dtype()),
          "Only Tensors of floating point and complex dtype can require gradients");
    t.impl()->requires_grad = true;
  }
  return t;
}

int64_t work(IntList size) {
  int64_t n = 1;
  for (int64_t s : size) {
    if (__builtin_mul_overflow(n, s, &n)) return 0;  // an error is on its way
  }
  return n;
}

Tensor rand(IntList size, Generator* generator, DTypeArg dtype, Layout, DeviceArg device, bool requires_grad,
            bool, Out out) {
  GilRelease gil(work(size));
  return with_grad(ops::rand(size, generator, dtype, device.value_or(Device{}), out), requires_grad);
}

Tensor randn(IntList size, Generator* generator, DTypeArg dtype, Layout, DeviceArg device, bool requires_grad,
             bool, Out out) {
  GilRelease gil(work(size));
  return with_grad(ops::randn(size, generator, dtype, device.value_or(Device{}), out), requires_grad);
}

Tensor randint_low(int64_t low, int64_t high, IntList size, Generator* generator, DTypeArg dtype, Layout,
                   DeviceArg device, bool requires_grad, bool, Out out) {
  GilRelease gil(work(size));
  return with_grad(ops::randint(low, high, size, generator, dtype, device.value_or(Device{}), out),
                   requires_grad);
}

Tensor randint(int64_t high, IntList size, Generator* generator, DTypeArg dtype, Layout layout,
               DeviceArg device, bool requires_grad, bool pin_memory, Out out) {
  return randint_low(0, high, size, generator, dtype, layout, device, requires_grad, pin_memory, out);
}

Tensor randperm(int64_t n, Generator* generator, DTypeArg dtype, Layout, DeviceArg device, bool requires_grad,
                bool, Out out) {
  GilRelease gil(n);
  return with_grad(ops::randperm(n, generator, dtype, device.value_or(Device{}), out), requires_grad);
}

Tensor normal_size(double mean, double std, IntList size, Generator* generator, DTypeArg dtype, Layout,
                   DeviceArg device, bool requires_grad, bool, Out out) {
  GilRelease gil(work(size));
  return with_grad(ops::normal_size(mean, std, size, generator, dtype, device.value_or(Device{}), out),
                   requires_grad);
}

Tensor like(const Tensor& input, DTypeArg dtype, FormatArg format) {
  return ops::empty_like_in(input, format.value_or(MemoryFormat::preserve), dtype);
}

Tensor rand_like(const Tensor& input, Generator* generator, DTypeArg dtype, Layout, DeviceArg,
                 bool requires_grad, bool, FormatArg format) {
  Tensor t = like(input, dtype, format);
  ops::uniform_(t, 0, 1, generator);
  return with_grad(t, requires_grad);
}

Tensor randn_like(const Tensor& input, Generator* generator, DTypeArg dtype, Layout, DeviceArg,
                  bool requires_grad, bool, FormatArg format) {
  Tensor t = like(input, dtype, format);
  ops::normal_(t, 0, 1, generator);
  return with_grad(t, requires_grad);
}

Tensor randint_like_low(const Tensor& input, int64_t low, int64_t high, Generator* generator, DTypeArg dtype,
                        Layout, DeviceArg, bool requires_grad, bool, FormatArg format) {
  Tensor t = like(input, dtype, format);
  ops::random_from_(t, low, high, generator);
  return with_grad(t, requires_grad);
}

Tensor randint_like(const Tensor& input, int64_t high, Generator* generator, DTypeArg dtype, Layout layout,
                    DeviceArg device, bool requires_grad, bool pin_memory, FormatArg format) {
  return randint_like_low(input, 0, high, generator, dtype, layout, device, requires_grad, pin_memory,
                          format);
}

void random_to_(const Tensor& input, int64_t to, Generator* generator) {
  ops::random_from_(input, 0, to, generator);
}

// Nothing to do gives the input itself. Else the mask, which the gradient needs, is a result of the operation
// that is recorded.
PyObject* dropout(PyObject* input, double p, bool train) {
  check(p >= 0 && p <= 1, "dropout probability has to be between 0 and 1, but got ", p);
  if (!train || p == 0 || as_tensor(input).numel() == 0) return Py_NewRef(input);
  static const Overload* const fused = find_operation("_dropout")->overloads.front().get();
  Object chance = Object::steal(checked(PyFloat_FromDouble(p)));
  PyObject* slots[] = {input, chance.get()};
  Object results = Object::steal(checked(call_operation(*fused, slots)));
  return Py_NewRef(PyTuple_GET_ITEM(results.get(), 0));
}

// The arguments at the end of every creation function.
#define CT_CREATION                                                                               \
  "Generator? generator=None, dtype? dtype=None, layout? layout=None, device? device=None, bool " \
  "requires_grad=False, "                                                                         \
  "bool pin_memory=False"
#define CT_NEW "*, " CT_CREATION ", Out out=None) -> Tensor"
#define CT_LIKE "*, " CT_CREATION ", memory_format? memory_format=None) -> Tensor"

void def_creation() {
  def_op<&rand>("rand(int... size, " CT_NEW, "Numbers uniform in [0, 1).", kFunction);
  def_op<&randn>("randn(int... size, " CT_NEW, "Numbers of the standard normal distribution.", kFunction);
  def_op<&randint>("randint(int high, int[] size, " CT_NEW,
                   "Integers uniform in [low, high), low being 0 by default.", kFunction);
  def_op<&randint_low>("randint.low(int low, int high, int[] size, " CT_NEW, "", kFunction);
  def_op<&randperm>("randperm(int n, " CT_NEW, "A random permutation of the integers from 0 to n - 1.",
                    kFunction);
  def_op<&rand_like>("rand_like(Tensor input, " CT_LIKE, "rand() of input's shape and dtype.", kFunction);
  def_op<&randn_like>("randn_like(Tensor input, " CT_LIKE, "randn() of input's shape and dtype.", kFunction);
  def_op<&randint_like>("randint_like(Tensor input, int high, " CT_LIKE,
                        "randint() of input's shape and dtype.", kFunction);
  def_op<&randint_like_low>("randint_like.low(Tensor input, int low, int high, " CT_LIKE, "", kFunction);
}

void def_fills() {
  constexpr unsigned fill = kMethod | kMutates;
  def_op<&ops::uniform_>(
      "uniform_(Tensor input, float from=0, float to=1, *, Generator? generator=None) -> Tensor",
      "Fill with numbers uniform in [from, to).", fill);
  def_op<&ops::normal_>(
      "normal_(Tensor input, float mean=0, float std=1, *, Generator? generator=None) -> Tensor",
      "Fill with normal numbers.", fill);
  def_op<&ops::random_>(
      "random_(Tensor input, *, Generator? generator=None) -> Tensor",
      "Fill with integers uniform in [from, to); by default over what the dtype holds exactly.", fill);
  def_op<&random_to_>("random_.to(Tensor input, int to, *, Generator? generator=None) -> Tensor", "", fill);
  def_op<&ops::random_from_>(
      "random_.from(Tensor input, int from, int? to, *, Generator? generator=None) -> Tensor", "", fill);
  def_op<&ops::bernoulli_tensor_>(
      "bernoulli_.Tensor(Tensor input, Tensor p, *, Generator? generator=None) -> Tensor",
      "Fill with 1 with probability p, else 0.", fill);
  def_op<&ops::bernoulli_>(
      "bernoulli_.float(Tensor input, float p=0.5, *, Generator? generator=None) -> Tensor", "", fill);
  def_op<&ops::exponential_>(
      "exponential_(Tensor input, float lambd=1, *, Generator? generator=None) -> Tensor",
      "Fill with numbers of the density lambd e^(-lambd x), x > 0.", fill);
  def_op<&ops::geometric_>(
      "geometric_(Tensor input, float p, *, Generator? generator=None) -> Tensor",
      "Fill with the number of the first success among trials that succeed with probability p.", fill);
  def_op<&ops::log_normal_>(
      "log_normal_(Tensor input, float mean=1, float std=2, *, Generator? generator=None) -> Tensor",
      "Fill with numbers whose logarithm is normal with this mean and deviation.", fill);
  def_op<&ops::cauchy_>(
      "cauchy_(Tensor input, float median=0, float sigma=1, *, Generator? generator=None) -> Tensor",
      "Fill with numbers of the Cauchy distribution.", fill);
}

void def_samples() {
  def_op<&ops::bernoulli>(
      "bernoulli(Tensor input, *, Generator? generator=None, Out out=None) -> Tensor",
      "1 with the probability that input gives, else 0; or with probability p in input's shape.");
  def_op<&ops::bernoulli_p>("bernoulli.p(Tensor input, float p, *, Generator? generator=None) -> Tensor", "");
  def_op<&ops::multinomial>(
      "multinomial(Tensor input, int num_samples, bool replacement=False, *, Generator? generator=None, "
      "Out out=None) -> Tensor",
      "Indices drawn with the weights in each row of input.");
  def_op<&ops::normal>(
      "normal.Tensor_Tensor(Tensor mean, Tensor std, *, Generator? generator=None, Out out=None) -> Tensor",
      "Normal numbers, with a mean and a deviation for each or for all.", kFunction);
  def_op<&ops::normal_std>(
      "normal.Tensor_float(Tensor mean, float std=1, *, Generator? generator=None, Out out=None) -> Tensor",
      "", kFunction);
  def_op<&ops::normal_mean>(
      "normal.float_Tensor(float mean, Tensor std, *, Generator? generator=None, Out out=None) -> Tensor", "",
      kFunction);
  def_op<&normal_size>("normal.float_float(float mean, float std, int[] size, " CT_NEW, "", kFunction);
}

void def_dropout() {
  def_op<&dropout>(
      "dropout(Tensor input, float p, bool train) -> Tensor",
      "Set elements to 0 with probability p and multiply the others by 1 / (1 - p), if train is True.",
      kFunction);
  def_op<&ops::dropout>("_dropout(Tensor input, float p) -> (Tensor, Tensor)",
                        "dropout() and the mask of what it keeps.", kInternal);
  def_op<&ops::dropout_scale>("_dropout_scale(Tensor input, Tensor mask, float p) -> Tensor",
                              "What dropout() does, given the mask.", kInternal);
  def_op<&ops::native_dropout>("native_dropout(Tensor input, float p, bool? train) -> (Tensor, Tensor)",
                               "dropout() and the mask of what it keeps.", kFunction);
  def_op<&ops::native_dropout_backward>(
      "native_dropout_backward(Tensor grad_output, Tensor mask, float scale) -> Tensor",
      "grad_output times scale where mask is True, else 0.", kInternal);
}

}  // namespace

void init_ops_random() {
  def_creation();
  def_fills();
  def_samples();
  def_dropout();
}

}  // namespace ctorch::py
