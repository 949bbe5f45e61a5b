// ctorch.Generator.
#include <pybind11/pybind11.h>

#include "bindings/convert.h"

namespace ctorch::py {

PyTypeObject* g_generator_type = nullptr;

namespace {

Generator& generator_of(PyObject* self) { return *reinterpret_cast<PyGenerator*>(self)->generator; }

PyObject* wrap_generator(PyTypeObject* type, std::shared_ptr<Generator> generator) {
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) throw_python_error();
  new (&reinterpret_cast<PyGenerator*>(self)->generator) std::shared_ptr<Generator>(std::move(generator));
  return self;
}

// Python's error for whatever body throws.
template <class Body>
PyObject* guarded(Body body) {
  try {
    return body();
  } catch (...) {
    return translate_exception();
  }
}

// A seed as 64 bits: negative ones wrap, so that -1 is 2^64 - 1.
uint64_t to_seed(PyObject* p) {
  check(PyIndex_Check(p) && !PyBool_Check(p), "manual_seed expected a long, but got ", Py_TYPE(p)->tp_name);
  Object number = Object::steal(checked(PyNumber_Index(p)));
  int overflow = 0;
  long long value = PyLong_AsLongLongAndOverflow(number.get(), &overflow);
  if (overflow == 0) return static_cast<uint64_t>(value);
  unsigned long long wide = overflow > 0 ? PyLong_AsUnsignedLongLong(number.get()) : 0;
  bool failed = overflow < 0 || PyErr_Occurred();
  PyErr_Clear();
  check_value(!failed, "Overflow when unpacking long long: a seed lies in [-2^63, 2^64)");
  return wide;
}

Tensor state_of(const Generator& generator) {
  Tensor t = empty({{Generator::kStateBytes}}, DType::uint8);
  generator.get_state(t.data<uint8_t>());
  return t;
}

void set_state(Generator& generator, PyObject* state) {
  check_type(is_tensor(state), "expected a torch.ByteTensor, but got ", Py_TYPE(state)->tp_name);
  const Tensor& t = as_tensor(state);
  check_type(t.dtype() == DType::uint8 && t.dim() == 1,
             "RNG state must be a torch.ByteTensor of one dimension, got ", t);
  std::string bytes(static_cast<size_t>(t.numel()), '\0');
  for (int64_t i = 0; i < t.numel(); ++i) bytes[static_cast<size_t>(i)] = t.data()[i * t.strides()[0]];
  generator.set_state(reinterpret_cast<const uint8_t*>(bytes.data()), t.numel());
}

PyObject* generator_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guarded([&]() -> PyObject* {
    static const char* names[] = {"device", nullptr};
    PyObject* device = nullptr;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Generator", const_cast<char**>(names), &device))
      return nullptr;
    if (device && device != Py_None) {
      try {
        parse_device(device);
      } catch (pyb::error_already_set&) {  // PyTorch's class is another here than for tensors
        fail(ErrorKind::runtime, "Generator: expected device cpu, got ",
             pyb::str(pyb::handle(device)).cast<std::string>());
      }
    }
    return wrap_generator(type, std::make_shared<Generator>());
  });
}

void generator_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  reinterpret_cast<PyGenerator*>(self)->generator.~shared_ptr();
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* generator_manual_seed(PyObject* self, PyObject* seed) {
  return guarded([&] {
    generator_of(self).manual_seed(to_seed(seed));
    return Py_NewRef(self);
  });
}
PyObject* generator_seed(PyObject* self, PyObject*) {
  return guarded([&] { return PyLong_FromUnsignedLongLong(generator_of(self).seed()); });
}
PyObject* generator_initial_seed(PyObject* self, PyObject*) {
  return PyLong_FromUnsignedLongLong(generator_of(self).initial_seed());
}
PyObject* generator_get_state(PyObject* self, PyObject*) {
  return guarded([&] { return wrap(state_of(generator_of(self))); });
}
PyObject* generator_set_state(PyObject* self, PyObject* state) {
  return guarded([&] {
    set_state(generator_of(self), state);
    return Py_NewRef(self);
  });
}
PyObject* generator_clone(PyObject* self, PyObject*) {
  return guarded(
      [&] { return wrap_generator(Py_TYPE(self), std::make_shared<Generator>(generator_of(self))); });
}
PyObject* generator_no_offset(PyObject*, PyObject*) {
  PyErr_SetString(PyExc_RuntimeError, "CPU Generator does not use offset");
  return nullptr;
}
PyObject* generator_device(PyObject*, void*) { return wrap(Device{}); }

// As PyTorch pickles it: (seed, offset, state) are set on a new generator.
PyObject* generator_reduce(PyObject* self, PyObject*) {
  return guarded([&] {
    const Generator& g = generator_of(self);
    Object device = Object::steal(checked(wrap(Device{})));
    Object state = Object::steal(checked(wrap(state_of(g))));
    return checked(Py_BuildValue("O(O)(KOO)", Py_TYPE(self), device.get(),
                                 static_cast<unsigned long long>(g.initial_seed()), Py_None, state.get()));
  });
}
PyObject* generator_setstate(PyObject* self, PyObject* args) {
  return guarded([&]() -> PyObject* {
    PyObject *seed, *offset, *state;
    if (!PyArg_ParseTuple(args, "OOO:__setstate__", &seed, &offset, &state)) return nullptr;
    set_state(generator_of(self), state);
    return Py_NewRef(Py_None);
  });
}

PyTypeObject* make_generator_type() {
  static PyMethodDef methods[] = {
      {"manual_seed", generator_manual_seed, METH_O,
       "Start the stream of this seed; negative seeds wrap. Returns the generator."},
      {"seed", generator_seed, METH_NOARGS,
       "Start the stream of a seed from the system's entropy, and return the seed."},
      {"initial_seed", generator_initial_seed, METH_NOARGS, "The seed of the stream."},
      {"get_state", generator_get_state, METH_NOARGS, "The state as a ByteTensor, which PyTorch takes, too."},
      {"set_state", generator_set_state, METH_O,
       "Go on from a state that get_state() gave, here or in PyTorch."},
      {"clone_state", generator_clone, METH_NOARGS, "Another generator that goes on from the same state."},
      {"__copy__", generator_clone, METH_NOARGS, nullptr},
      {"__deepcopy__", generator_clone, METH_O, nullptr},
      {"get_offset", generator_no_offset, METH_NOARGS, "An error: only CUDA generators have an offset."},
      {"set_offset", generator_no_offset, METH_O, "An error: only CUDA generators have an offset."},
      {"__reduce__", generator_reduce, METH_NOARGS, nullptr},
      {"__setstate__", generator_setstate, METH_O, nullptr},
      {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getset[] = {
      {"device", generator_device, nullptr, "Where its numbers are made.", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyType_Slot slots[] = {
      {Py_tp_new, reinterpret_cast<void*>(generator_new)},
      {Py_tp_dealloc, reinterpret_cast<void*>(generator_dealloc)},
      {Py_tp_methods, methods},
      {Py_tp_getset, getset},
      {Py_tp_doc, const_cast<char*>("Generator(device='cpu')\n\nA stream of random numbers.")},
      {0, nullptr}};
  static PyType_Spec spec{"ctorch.Generator", sizeof(PyGenerator), 0, Py_TPFLAGS_DEFAULT, slots};
  return reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)));
}

}  // namespace

void init_generator(pyb::module_& m) {
  g_generator_type = make_generator_type();
  m.add_object("Generator", reinterpret_cast<PyObject*>(g_generator_type));
  m.add_object("default_generator",
               pyb::reinterpret_steal<pyb::object>(wrap_generator(g_generator_type, default_generator())));
}

}  // namespace ctorch::py
