// The door: def_op() registers an operation once, and with it come the Python function, the method, the
// in-place and out= forms, argument parsing, the stub and the documentation, and the place at which autograd
// sees the call.
//
//   def_op<&ops::mul>("mul(Tensor input, Operand other, *, Out out=None) -> Tensor", "Product of two
//   tensors...", kAll);
//
// Calling def_op() again for the same name adds an overload; the first that takes the arguments is used. A
// C++ function whose last parameter is `Out` writes into a given result; for others the door copies.
#pragma once

#include <utility>

#include "bindings/convert.h"

namespace ctorch::py {

// Releases the GIL while `work` elements or more are processed.
class GilRelease {
 public:
  static constexpr int64_t kWorthIt = 1 << 15;  // some 10 us of work; a release and retake costs about 0.1 us
  explicit GilRelease(int64_t work) : state_(work >= kWorthIt ? PyEval_SaveThread() : nullptr) {}
  ~GilRelease() {
    if (state_) PyEval_RestoreThread(state_);
  }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

int64_t work_of(const Overload& ov, PyObject* const* slots);

namespace detail {

template <auto Fn, class R, class... Params>
struct Caller {
  static constexpr size_t kParams = sizeof...(Params);
  template <size_t I>
  using Param = std::remove_cvref_t<std::tuple_element_t<I, std::tuple<Params...>>>;
  static constexpr bool native_out() {
    if constexpr (kParams > 0) {
      return std::is_same_v<Param<kParams - 1>, Out>;
    } else {
      return false;
    }
  }
  static constexpr size_t kInputs = kParams - (native_out() ? 1 : 0);

  template <size_t... I>
  static PyObject* call(const Overload& ov, PyObject* const* slots, Out out, std::index_sequence<I...>) {
    // Braces fix the order of evaluation; the tuple keeps what the converted arguments refer to.
    std::tuple<Arg<Param<I>>...> args{Arg<Param<I>>(slots[I])...};
    auto run = [&]() -> R {
      if constexpr (native_out()) {
        return Fn(std::get<I>(args).get()..., out);
      } else {
        return Fn(std::get<I>(args).get()...);
      }
    };
    (void)out;
    int64_t work = work_of(ov, slots);
    if constexpr (std::is_void_v<R>) {
      {
        GilRelease gil(work);
        run();
      }
      return Py_NewRef(slots[0]);
    } else if constexpr (std::is_same_v<R, PyObject*>) {
      return run();
    } else {
      if (CT_LIKELY(work < GilRelease::kWorthIt)) return to_python(run(), ov);
      std::optional<R> result;
      {
        GilRelease gil(work);
        result.emplace(run());
      }
      return to_python(*result, ov);
    }
  }

  static PyObject* invoke(const Overload& ov, PyObject* const* slots, Out out) {
    try {
      return call(ov, slots, out, std::make_index_sequence<kInputs>());
    } catch (...) {
      return translate_exception();
    }
  }
};

template <auto Fn, class R, class... Params>
Caller<Fn, R, Params...> caller_of(R (*)(Params...));

void register_overload(const char* schema, const char* doc, unsigned forms, Invoke invoke, bool native_out,
                       size_t inputs);

}  // namespace detail

template <auto Fn>
void def_op(const char* schema, const char* doc, unsigned forms = kBoth) {
  using Caller = decltype(detail::caller_of<Fn>(Fn));
  detail::register_overload(schema, doc, forms, &Caller::invoke, Caller::native_out(), Caller::kInputs);
}

// Another public name of an operation: def_alias("absolute", "abs").
void def_alias(const char* alias, const char* name);

// Call an operation from C++ through the door: observers see it. Slots are all parameters, in order.
PyObject* call_operation(const Overload& ov, PyObject** slots, bool inplace = false);
// The function object of an operation, for tables of the Tensor type. Null if there is no such operation.
PyObject* operation_object(const std::string& name);

// Put every registered operation into the module and onto the Tensor type.
void publish_operations(pyb::module_& m);

}  // namespace ctorch::py
