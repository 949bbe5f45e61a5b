// dtype, layout, memory_format, device and Size, and the errors that cross into Python.
#include <cstring>
#include <new>

#include <pybind11/pybind11.h>

#include "bindings/convert.h"

namespace ctorch::py {

PyTypeObject *g_dtype_type, *g_layout_type, *g_memory_format_type, *g_device_type;

namespace {

PyTypeObject* g_size_type;
PyObject* g_out_of_memory;
PyObject* g_dtypes[kNumDTypes];
PyObject* g_strided;

// ---- errors
// -----------------------------------------------------------------------------------------------------------

PyObject* exception_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::index: return PyExc_IndexError;
    case ErrorKind::type: return PyExc_TypeError;
    case ErrorKind::value: return PyExc_ValueError;
    case ErrorKind::not_implemented: return PyExc_NotImplementedError;
    case ErrorKind::out_of_memory: return g_out_of_memory;
    default: return PyExc_RuntimeError;
  }
}

// ---- constants
// --------------------------------------------------------------------------------------------------------

PyObject* constant_repr(PyObject* p) { return Py_NewRef(reinterpret_cast<PyConstant*>(p)->name); }

// Pickled by name: "float32" is looked up in ctorch.
PyObject* constant_reduce(PyObject* p, PyObject*) {
  const char* name = PyUnicode_AsUTF8(reinterpret_cast<PyConstant*>(p)->name);
  Object module = Object::steal(PyImport_ImportModule("ctorch"));
  if (!module) return nullptr;
  Object lookup = Object::steal(PyObject_GetAttrString(module.get(), "_constant"));
  if (!lookup) return nullptr;
  return Py_BuildValue("O(s)", lookup.get(), std::strchr(name, '.') + 1);
}

PyObject* dtype_flag(PyObject* p, void* which) {
  DType dt = as_dtype(p);
  switch (reinterpret_cast<intptr_t>(which)) {
    case 0: return PyBool_FromLong(is_floating(dt));
    case 1: return PyBool_FromLong(is_complex(dt));
    case 2: return PyBool_FromLong(is_signed(dt));
    case 3: return PyLong_FromLongLong(item_size(dt));
    default: return nullptr;
  }
}
PyObject* dtype_to_real(PyObject* p, PyObject*) { return wrap(to_real(as_dtype(p))); }
PyObject* dtype_to_complex(PyObject* p, PyObject*) { return wrap(to_complex(as_dtype(p))); }

PyTypeObject* make_constant_type(const char* name, bool dtype) {
  static PyMethodDef dtype_methods[] = {
      {"__reduce__", constant_reduce, METH_NOARGS, nullptr},
      {"to_real", dtype_to_real, METH_NOARGS, "The dtype of the parts of a complex dtype."},
      {"to_complex", dtype_to_complex, METH_NOARGS, "The complex dtype with parts of this one."},
      {nullptr, nullptr, 0, nullptr}};
  static PyMethodDef methods[] = {{"__reduce__", constant_reduce, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getset[] = {
      {"is_floating_point", dtype_flag, nullptr, nullptr, reinterpret_cast<void*>(0)},
      {"is_complex", dtype_flag, nullptr, nullptr, reinterpret_cast<void*>(1)},
      {"is_signed", dtype_flag, nullptr, nullptr, reinterpret_cast<void*>(2)},
      {"itemsize", dtype_flag, nullptr, nullptr, reinterpret_cast<void*>(3)},
      {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyGetSetDef none[] = {{nullptr, nullptr, nullptr, nullptr, nullptr}};
  PyType_Slot slots[] = {{Py_tp_repr, reinterpret_cast<void*>(constant_repr)},
                         {Py_tp_methods, dtype ? dtype_methods : methods},
                         {Py_tp_getset, dtype ? getset : none},
                         {0, nullptr}};
  PyType_Spec spec{name, sizeof(PyConstant), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                   slots};
  return reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)));
}

PyObject* make_constant(PyTypeObject* type, int value, const char* name) {
  auto* c = PyObject_New(PyConstant, type);
  c->value = value;
  c->name = PyUnicode_InternFromString((std::string("torch.") + name).c_str());
  return reinterpret_cast<PyObject*>(c);
}

void publish(pyb::module_& m, const char* name, PyObject* p) {
  m.attr(name) = pyb::reinterpret_borrow<pyb::object>(p);
}

// ---- device
// -----------------------------------------------------------------------------------------------------------

Device device_from_text(const std::string& text) {
  size_t colon = text.find(':');
  std::string kind = text.substr(0, colon);
  int index = -1;
  if (colon != std::string::npos) {
    std::string digits = text.substr(colon + 1);
    bool valid =
        !digits.empty() && digits.size() < 4 && digits.find_first_not_of("0123456789") == std::string::npos;
    check(valid, "Invalid device string: '", text, "'");
    index = std::stoi(digits);
    check(index < 128, "Invalid device string: '", text, "': the index is too large");
  }
  if (kind == "cpu") return {DeviceKind::cpu, static_cast<int8_t>(index)};
  if (kind == "cuda") return {DeviceKind::cuda, static_cast<int8_t>(index)};
  fail(ErrorKind::runtime, "Expected one of cpu, cuda device type at start of device string: ", text);
}

PyObject* device_new(PyTypeObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"type", "index", nullptr};
  PyObject* kind = nullptr;
  PyObject* index = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O", const_cast<char**>(names), &kind, &index))
    return nullptr;
  try {
    Device d;
    if (Py_TYPE(kind) == g_device_type) {
      d = reinterpret_cast<PyDevice*>(kind)->device;
    } else if (PyLong_Check(kind)) {
      d = {DeviceKind::cuda, static_cast<int8_t>(to_int64(kind))};
    } else {
      check_type(PyUnicode_Check(kind), "device(): argument 'type' must be str, not ",
                 Py_TYPE(kind)->tp_name);
      d = device_from_text(to_string(kind));
    }
    if (index != Py_None) {
      int64_t i = to_int64(index);
      check(i >= 0 && i < 128, "device(): index must be between 0 and 127, got ", i);
      check(d.index < 0, "type (string) must not include an index because index was passed explicitly: ", d);
      d.index = static_cast<int8_t>(i);
    }
    return wrap(d);
  } catch (...) {
    return translate_exception();
  }
}

PyObject* device_repr(PyObject* p) {
  Device d = reinterpret_cast<PyDevice*>(p)->device;
  std::string text = concat("device(type='", device_kind_name(d.kind), "'");
  if (d.index >= 0) text += concat(", index=", static_cast<int>(d.index));
  return PyUnicode_FromString((text + ")").c_str());
}
PyObject* device_str(PyObject* p) {
  return PyUnicode_FromString(concat(reinterpret_cast<PyDevice*>(p)->device).c_str());
}
PyObject* device_type_name(PyObject* p, void*) {
  return PyUnicode_FromString(device_kind_name(reinterpret_cast<PyDevice*>(p)->device.kind));
}
PyObject* device_index(PyObject* p, void*) {
  int8_t i = reinterpret_cast<PyDevice*>(p)->device.index;
  return i < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(i);
}
PyObject* device_compare(PyObject* a, PyObject* b, int op) {
  if (Py_TYPE(b) != g_device_type || (op != Py_EQ && op != Py_NE)) Py_RETURN_NOTIMPLEMENTED;
  bool same = reinterpret_cast<PyDevice*>(a)->device == reinterpret_cast<PyDevice*>(b)->device;
  return PyBool_FromLong(same == (op == Py_EQ));
}
Py_hash_t device_hash(PyObject* p) {
  Device d = reinterpret_cast<PyDevice*>(p)->device;
  return static_cast<Py_hash_t>(d.kind) * 256 + d.index + 1;
}
PyObject* device_reduce(PyObject* p, PyObject*) {
  Object text = Object::steal(device_str(p));
  return Py_BuildValue("O(O)", g_device_type, text.get());
}
// with ctorch.device("cpu"): there is one device, so nothing changes.
PyObject* device_enter(PyObject* p, PyObject*) { return Py_NewRef(p); }
PyObject* device_exit(PyObject*, PyObject*) { Py_RETURN_NONE; }

PyTypeObject* make_device_type() {
  static PyGetSetDef getset[] = {
      {"type", device_type_name, nullptr, "\"cpu\" or \"cuda\".", nullptr},
      {"index", device_index, nullptr, "The number, or None for the current one.", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyMethodDef methods[] = {{"__reduce__", device_reduce, METH_NOARGS, nullptr},
                                  {"__enter__", device_enter, METH_NOARGS, nullptr},
                                  {"__exit__", device_exit, METH_VARARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(device_new)},
                                {Py_tp_repr, reinterpret_cast<void*>(device_repr)},
                                {Py_tp_str, reinterpret_cast<void*>(device_str)},
                                {Py_tp_richcompare, reinterpret_cast<void*>(device_compare)},
                                {Py_tp_hash, reinterpret_cast<void*>(device_hash)},
                                {Py_tp_getset, getset},
                                {Py_tp_methods, methods},
                                {0, nullptr}};
  static PyType_Spec spec{"ctorch.device", sizeof(PyDevice), 0, Py_TPFLAGS_DEFAULT, slots};
  return reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)));
}

// ---- Size
// -------------------------------------------------------------------------------------------------------------

PyObject* size_repr(PyObject* p) {
  std::string text = "torch.Size([";
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(p); ++i) {
    Object item = Object::steal(PyObject_Str(PyTuple_GET_ITEM(p, i)));
    if (!item) return nullptr;
    text += (i ? ", " : "") + std::string(PyUnicode_AsUTF8(item.get()));
  }
  return PyUnicode_FromString((text + "])").c_str());
}

PyObject* size_numel(PyObject* p, PyObject*) {
  int64_t n = 1;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(p); ++i) n *= PyLong_AsLongLong(PyTuple_GET_ITEM(p, i));
  return PyLong_FromLongLong(n);
}

PyObject* size_of_tuple(PyObject* tuple) {  // takes the reference
  if (!tuple) return nullptr;
  Object source = Object::steal(tuple);
  if (!PyTuple_Check(tuple)) return Py_NewRef(tuple);
  Py_ssize_t n = PyTuple_GET_SIZE(tuple);
  PyObject* out = g_size_type->tp_alloc(g_size_type, n);
  for (Py_ssize_t i = 0; out && i < n; ++i) PyTuple_SET_ITEM(out, i, Py_NewRef(PyTuple_GET_ITEM(tuple, i)));
  return out;
}

// Slices and sums of Sizes are Sizes.
PyObject* size_subscript(PyObject* p, PyObject* index) {
  PyObject* part = PyTuple_Type.tp_as_mapping->mp_subscript(p, index);
  return PySlice_Check(index) ? size_of_tuple(part) : part;
}
PyObject* size_concat(PyObject* a, PyObject* b) {
  return size_of_tuple(PyTuple_Type.tp_as_sequence->sq_concat(a, b));
}
PyObject* size_repeat(PyObject* a, Py_ssize_t n) {
  return size_of_tuple(PyTuple_Type.tp_as_sequence->sq_repeat(a, n));
}

PyObject* size_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  Object out = Object::steal(PyTuple_Type.tp_new(type, args, kwargs));
  if (!out) return nullptr;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(out.get()); ++i) {
    PyObject* item = PyTuple_GET_ITEM(out.get(), i);
    if (PyLong_Check(item)) continue;
    PyObject* number = PyIndex_Check(item) ? PyNumber_Index(item) : nullptr;
    if (!number) {
      PyErr_Format(PyExc_TypeError, "Size() takes an iterable of 'int' (item %zd is '%s')", i,
                   Py_TYPE(item)->tp_name);
      return nullptr;
    }
    PyTuple_SET_ITEM(out.get(), i, number);
    Py_DECREF(item);
  }
  return out.release();
}

PyObject* size_reduce(PyObject* p, PyObject*) {
  Object plain = Object::steal(PyTuple_GetSlice(p, 0, PyTuple_GET_SIZE(p)));
  return Py_BuildValue("O(O)", g_size_type, plain.get());
}

PyTypeObject* make_size_type() {
  static PyMethodDef methods[] = {
      {"numel", size_numel, METH_NOARGS, "The number of elements of a tensor of this shape."},
      {"__reduce__", size_reduce, METH_NOARGS, nullptr},
      {nullptr, nullptr, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_repr, reinterpret_cast<void*>(size_repr)},
                                {Py_tp_new, reinterpret_cast<void*>(size_new)},
                                {Py_mp_subscript, reinterpret_cast<void*>(size_subscript)},
                                {Py_sq_concat, reinterpret_cast<void*>(size_concat)},
                                {Py_sq_repeat, reinterpret_cast<void*>(size_repeat)},
                                {Py_tp_methods, methods},
                                {0, nullptr}};
  static PyType_Spec spec{"ctorch.Size", 0, 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  Object bases = Object::steal(PyTuple_Pack(1, reinterpret_cast<PyObject*>(&PyTuple_Type)));
  return reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpecWithBases(&spec, bases.get())));
}

}  // namespace

Object::~Object() {
  if (!p_) return;
  if (CT_LIKELY(PyGILState_Check())) {
    Py_DECREF(p_);
  } else if (Py_IsInitialized()) {
    PyGILState_STATE state = PyGILState_Ensure();
    Py_DECREF(p_);
    PyGILState_Release(state);
  }
}

void throw_python_error() { throw pyb::error_already_set(); }

PyObject* translate_exception() {
  try {
    throw;
  } catch (pyb::error_already_set& e) {
    e.restore();
  } catch (const Error& e) {
    PyErr_SetString(exception_class(e.kind()), e.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
  return nullptr;
}

PyObject* wrap(DType dt) { return Py_NewRef(g_dtypes[static_cast<int>(dt)]); }
PyObject* layout_strided() { return Py_NewRef(g_strided); }

PyObject* wrap(Device device) {
  auto* d = PyObject_New(PyDevice, g_device_type);
  if (d) d->device = device;
  return reinterpret_cast<PyObject*>(d);
}

Device parse_device(PyObject* p) {
  Device d;
  if (Py_TYPE(p) == g_device_type) {
    d = reinterpret_cast<PyDevice*>(p)->device;
  } else if (PyUnicode_Check(p)) {
    d = device_from_text(to_string(p));
  } else {
    d = {DeviceKind::cuda, static_cast<int8_t>(to_int64(p))};
  }
  if (d.kind != DeviceKind::cpu) {
    const std::string text = concat("Torch not compiled with CUDA enabled: device ", d,
                                    " is not available, this build of ctorch runs on the CPU");
    PyErr_SetString(PyExc_AssertionError, text.c_str());  // PyTorch's class
    throw_python_error();
  }
  check(d.index <= 0, "device ", d, " is not available: there is one CPU device");
  return Device{};
}

PyObject* wrap_size(IntList sizes) {
  PyObject* out = g_size_type->tp_alloc(g_size_type, static_cast<Py_ssize_t>(sizes.size()));
  for (size_t i = 0; out && i < sizes.size(); ++i)
    PyTuple_SET_ITEM(out, static_cast<Py_ssize_t>(i), PyLong_FromLongLong(sizes[i]));
  return out;
}

PyObject* wrap_ints(IntList values) {
  PyObject* out = PyTuple_New(static_cast<Py_ssize_t>(values.size()));
  for (size_t i = 0; out && i < values.size(); ++i)
    PyTuple_SET_ITEM(out, static_cast<Py_ssize_t>(i), PyLong_FromLongLong(values[i]));
  return out;
}

PyObject* wrap_scalar(const Scalar& s) {
  switch (s.kind()) {
    case Scalar::Kind::boolean: return PyBool_FromLong(s.to_bool());
    case Scalar::Kind::integer:
      return s.dtype() == DType::uint64 ? PyLong_FromUnsignedLongLong(static_cast<uint64_t>(s.to_int64()))
                                        : PyLong_FromLongLong(s.to_int64());
    case Scalar::Kind::floating: return PyFloat_FromDouble(s.to_double());
    default: return PyComplex_FromDoubles(s.to_complex().real(), s.to_complex().imag());
  }
}

void init_constants(pyb::module_& m) {
  g_out_of_memory = PyErr_NewExceptionWithDoc(
      "ctorch.OutOfMemoryError", "Memory for a tensor could not be had.", PyExc_RuntimeError, nullptr);
  publish(m, "OutOfMemoryError", g_out_of_memory);
  pyb::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const Error& e) {
      PyErr_SetString(exception_class(e.kind()), e.what());
    }
  });

  g_dtype_type = make_constant_type("ctorch.dtype", true);
  g_layout_type = make_constant_type("ctorch.layout", false);
  g_memory_format_type = make_constant_type("ctorch.memory_format", false);
  publish(m, "dtype", reinterpret_cast<PyObject*>(g_dtype_type));
  publish(m, "layout", reinterpret_cast<PyObject*>(g_layout_type));
  publish(m, "memory_format", reinterpret_cast<PyObject*>(g_memory_format_type));
  for (int i = 0; i < kNumDTypes; ++i) {
    g_dtypes[i] = make_constant(g_dtype_type, i, dtype_name(static_cast<DType>(i)));
    publish(m, dtype_name(static_cast<DType>(i)), g_dtypes[i]);
  }
  g_strided = make_constant(g_layout_type, 0, "strided");
  publish(m, "strided", g_strided);
  const char* formats[] = {"contiguous_format", "preserve_format", "channels_last", "channels_last_3d"};
  for (int i = 0; i < 4; ++i) publish(m, formats[i], make_constant(g_memory_format_type, i, formats[i]));

  g_device_type = make_device_type();
  publish(m, "device", reinterpret_cast<PyObject*>(g_device_type));
  g_size_type = make_size_type();
  publish(m, "Size", reinterpret_cast<PyObject*>(g_size_type));

  m.def(
      "get_default_dtype", [] { return pyb::reinterpret_steal<pyb::object>(wrap(default_dtype())); },
      "The dtype of new floating tensors.");
  m.def(
      "set_default_dtype", [](pyb::object dt) { set_default_dtype(to_dtype(dt.ptr())); }, pyb::arg("d"),
      "Set the dtype of new floating tensors: a floating dtype. TypeError otherwise.");
}

}  // namespace ctorch::py
