#include "bindings/interop.h"

#include <cstring>

#include "autograd/grad_mode.h"
#include "autograd/variable.h"
#include "bindings/convert.h"
#include "bindings/dlpack.h"
#include "ops/copy.h"

namespace ctorch::py {
namespace {

// struct-module codes of NumPy's buffers; bfloat16 has none.
const char* buffer_format(DType dt) {
  switch (dt) {
    case DType::boolean: return "?";
    case DType::uint8: return "B";
    case DType::int8: return "b";
    case DType::int16: return "h";
    case DType::uint16: return "H";
    case DType::int32: return "i";
    case DType::uint32: return "I";
    case DType::int64: return "l";
    case DType::uint64: return "L";
    case DType::float16: return "e";
    case DType::float32: return "f";
    case DType::float64: return "d";
    case DType::complex64: return "Zf";
    case DType::complex128: return "Zd";
    default: return nullptr;
  }
}

DType dtype_of_buffer(const Py_buffer& view) {
  const char* format = view.format ? view.format : "B";
  bool swapped = *format == '>' || *format == '!';
  if (std::strchr("@=<|", *format) && *format) ++format;
  check_type(!swapped,
             "from_numpy: arrays of the other byte order are not supported; copy them with "
             ".astype(dtype.newbyteorder('='))");
  std::string f(format);
  int64_t size = view.itemsize;
  if (f == "?") return DType::boolean;
  if (f == "e") return DType::float16;
  if (f == "f") return DType::float32;
  if (f == "d") return DType::float64;
  if (f == "Zf") return DType::complex64;
  if (f == "Zd") return DType::complex128;
  if (f.size() == 1 && std::strchr("bhilq", f[0]))
    return size == 1 ? DType::int8 : size == 2 ? DType::int16 : size == 4 ? DType::int32 : DType::int64;
  if (f.size() == 1 && std::strchr("BHILQ", f[0]))
    return size == 1 ? DType::uint8 : size == 2 ? DType::uint16 : size == 4 ? DType::uint32 : DType::uint64;
  fail(ErrorKind::type, "can't convert a buffer of format '", view.format ? view.format : "",
       "'. The only supported types are: float64, float32, "
       "float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, uint16, uint8, and bool.");
}

void release_buffer(void* context) {
  auto* view = static_cast<Py_buffer*>(context);
  if (Py_IsInitialized()) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyBuffer_Release(view);
    PyGILState_Release(state);
  }
  delete view;
}

// A tensor over somebody else's strided memory. data points at index 0; strides count elements and may be
// negative.
Tensor tensor_over(void* data, DType dtype, Dims sizes, Dims strides, void (*release)(void*), void* context) {
  int64_t low = 0, high = 0;
  bool empty = false;
  for (int64_t i = 0; i < sizes.size(); ++i) {
    empty |= sizes[i] == 0;
    (strides[i] < 0 ? low : high) += (sizes[i] - 1) * strides[i];
  }
  if (empty) low = high = 0;
  int64_t bytes = empty ? 0 : (high - low + 1) * item_size(dtype);
  auto storage =
      make_ref<Storage>(static_cast<char*>(data) + low * item_size(dtype), bytes, Device{}, release, context);
  return Tensor(make_ref<TensorImpl>(std::move(storage), dtype, -low, std::move(sizes), std::move(strides)));
}

// ---- DLPack
// -----------------------------------------------------------------------------------------------------------

struct DLPackExport {
  DLManagedTensor managed;
  Tensor tensor;
  std::vector<int64_t> shape, strides;
};

DLDataType dlpack_dtype(DType dt) {
  uint8_t code = is_bool(dt)             ? kDLBool
                 : is_complex(dt)        ? kDLComplex
                 : dt == DType::bfloat16 ? kDLBfloat
                 : is_floating(dt)       ? kDLFloat
                 : is_signed(dt)         ? kDLInt
                                         : kDLUInt;
  return {code, static_cast<uint8_t>(item_size(dt) * 8), 1};
}

DType dtype_of_dlpack(DLDataType dl) {
  check(dl.lanes == 1, "from_dlpack: vector dtypes (", dl.lanes, " lanes) are not supported");
  for (int i = 0; i < kNumDTypes; ++i) {
    DLDataType mine = dlpack_dtype(static_cast<DType>(i));
    if (mine.code == dl.code && mine.bits == dl.bits) return static_cast<DType>(i);
  }
  fail(ErrorKind::runtime, "from_dlpack: unsupported dtype of code ", static_cast<int>(dl.code), " and ",
       static_cast<int>(dl.bits), " bits");
}

void delete_export(DLManagedTensor* managed) {
  auto* exported = static_cast<DLPackExport*>(managed->manager_ctx);
  exported->tensor.storage()->take_back();
  delete exported;
}

void delete_capsule(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, "dltensor")) return;  // consumed: the new owner deletes
  auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
  managed->deleter(managed);
}

pyb::object to_dlpack(const pyb::object& self) {
  const Tensor& t = as_tensor(self.ptr());
  if (t.requires_grad()) {
    PyErr_SetString(PyExc_BufferError, "Can't export tensors that require gradient, use tensor.detach()");
    throw_python_error();
  }
  auto* out =
      new DLPackExport{{}, t, {t.sizes().begin(), t.sizes().end()}, {t.strides().begin(), t.strides().end()}};
  out->managed.dl_tensor = {t.data(),
                            {kDLCPU, 0},
                            static_cast<int32_t>(t.dim()),
                            dlpack_dtype(t.dtype()),
                            out->shape.data(),
                            out->strides.data(),
                            0};
  t.storage()->lend();
  out->managed.manager_ctx = out;
  out->managed.deleter = delete_export;
  return pyb::reinterpret_steal<pyb::object>(
      checked(PyCapsule_New(&out->managed, "dltensor", delete_capsule)));
}

pyb::object from_dlpack_capsule(const pyb::object& capsule) {
  check_type(PyCapsule_IsValid(capsule.ptr(), "dltensor"),
             "from_dlpack: expected an unused DLPack capsule, got ", Py_TYPE(capsule.ptr())->tp_name);
  auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  const DLTensor& dl = managed->dl_tensor;
  check(dl.device.device_type == kDLCPU, "from_dlpack: the tensor is on device type ", dl.device.device_type,
        "; only CPU memory (1) can be shared");
  check(dl.ndim >= 0, "from_dlpack: negative number of dimensions ", dl.ndim);
  DType dtype = dtype_of_dlpack(dl.dtype);
  Dims sizes(dl.ndim);
  for (int i = 0; i < dl.ndim; ++i) sizes[i] = dl.shape[i];
  checked_numel(sizes, "from_dlpack");
  Dims strides = contiguous_strides(sizes);
  for (int i = 0; dl.strides && i < dl.ndim; ++i) strides[i] = dl.strides[i];
  auto release = [](void* context) {
    auto* m = static_cast<DLManagedTensor*>(context);
    if (!m->deleter) return;
    PyGILState_STATE state = PyGILState_Ensure();
    m->deleter(m);
    PyGILState_Release(state);
  };
  PyCapsule_SetName(capsule.ptr(), "used_dltensor");
  PyCapsule_SetDestructor(capsule.ptr(), nullptr);
  return pyb::reinterpret_steal<pyb::object>(
      wrap(tensor_over(static_cast<char*>(dl.data) + dl.byte_offset, dtype, std::move(sizes),
                       std::move(strides), release, managed)));
}

// ---- storages, for serialization
// --------------------------------------------------------------------------------------

pyb::object storage_bytes(const pyb::object& self) {
  const Tensor& t = as_tensor(self.ptr());
  Dims sizes{t.storage()->bytes()};
  Tensor bytes(make_ref<TensorImpl>(t.storage(), DType::uint8, 0, sizes, Dims{1}));
  Object flat = Object::steal(checked(wrap(bytes)));
  return pyb::reinterpret_steal<pyb::object>(checked(PyMemoryView_FromObject(flat.get())));
}

int64_t storage_key(const pyb::object& self) {
  return reinterpret_cast<int64_t>(as_tensor(self.ptr()).storage().get());
}

pyb::object tensor_from_buffer(const pyb::buffer& buffer, const pyb::object& dtype) {
  Py_buffer view;
  if (PyObject_GetBuffer(buffer.ptr(), &view, PyBUF_SIMPLE) != 0) throw_python_error();
  DType dt = as_dtype(dtype.ptr());
  int64_t n = view.len / item_size(dt);
  bool whole = n * item_size(dt) == view.len;
  Tensor t;
  if (whole) {
    t = empty(Dims{n}, dt);
    std::memcpy(t.data(), view.buf, static_cast<size_t>(view.len));
  }
  PyBuffer_Release(&view);
  check_value(whole, "a buffer of ", view.len, " bytes does not hold whole elements of ", dt);
  return pyb::reinterpret_steal<pyb::object>(wrap(t));
}

}  // namespace

// from_buffer(object): shares the memory of anything with the buffer protocol, NumPy arrays above all.
pyb::object from_buffer(const pyb::object& source, bool writable_only) {
  auto view = std::make_unique<Py_buffer>();
  bool writable = PyObject_GetBuffer(source.ptr(), view.get(), PyBUF_FULL) == 0;
  if (!writable) {
    PyErr_Clear();
    if (PyObject_GetBuffer(source.ptr(), view.get(), PyBUF_FULL_RO) != 0) throw_python_error();
    if (writable_only) {
      PyBuffer_Release(view.get());
      fail(ErrorKind::value, "the buffer is not writable: copy it first");
    }
    PyErr_WarnEx(PyExc_UserWarning,
                 "The given NumPy array is not writable, and ctorch does not support non-writable tensors. "
                 "Writing to this tensor "
                 "will result in undefined behavior. Copy the array to protect its data before converting it "
                 "to a tensor.",
                 1);
  }
  try {
    DType dtype = dtype_of_buffer(*view);
    Dims sizes(view->ndim), strides(view->ndim);
    for (int i = 0; i < view->ndim; ++i) {
      sizes[i] = view->shape[i];
      check_value(view->strides[i] % view->itemsize == 0, "from_numpy: the stride of ", view->strides[i],
                  " bytes in dimension ", i, " is not a multiple of the item size ", view->itemsize,
                  "; copy the array first");
      strides[i] = view->strides[i] / view->itemsize;
    }
    Py_buffer* raw = view.release();
    return pyb::reinterpret_steal<pyb::object>(
        wrap(tensor_over(raw->buf, dtype, std::move(sizes), std::move(strides), release_buffer, raw)));
  } catch (...) {
    if (view) PyBuffer_Release(view.get());
    throw;
  }
}

int tensor_getbuffer(PyObject* self, Py_buffer* view, int flags) {
  const Tensor& t = as_tensor(self);
  const char* format = buffer_format(t.dtype());
  view->obj = nullptr;
  if (t.requires_grad()) {  // NumPy then asks __array__, which says what to do
    PyErr_SetString(PyExc_BufferError, "a tensor that requires grad has no buffer: use tensor.detach()");
    return -1;
  }
  if (!format) {
    PyErr_Format(PyExc_BufferError, "a tensor of dtype %s has no buffer format", dtype_name(t.dtype()));
    return -1;
  }
  bool strided = (flags & PyBUF_STRIDES) == PyBUF_STRIDES;
  if (!strided && !t.is_contiguous()) {
    PyErr_SetString(PyExc_BufferError, "the tensor is not contiguous");
    return -1;
  }
  auto* geometry = new Py_ssize_t[static_cast<size_t>(2 * t.dim() + 1)];
  for (int64_t i = 0; i < t.dim(); ++i) {
    geometry[i] = t.sizes()[i];
    geometry[t.dim() + i] = t.strides()[i] * t.item_size();
  }
  view->obj = Py_NewRef(self);
  view->buf = t.data();
  view->len = t.numel() * t.item_size();
  view->readonly = 0;
  view->itemsize = t.item_size();
  view->format = (flags & PyBUF_FORMAT) ? const_cast<char*>(format) : nullptr;
  view->ndim = static_cast<int>(t.dim());
  view->shape = (flags & PyBUF_ND) ? geometry : nullptr;
  view->strides = strided ? geometry + t.dim() : nullptr;
  view->suboffsets = nullptr;
  view->internal = geometry;
  t.storage()->lend();
  return 0;
}

void tensor_releasebuffer(PyObject* self, Py_buffer* view) {
  as_tensor(self).storage()->take_back();
  delete[] static_cast<Py_ssize_t*>(view->internal);
}

void init_interop(pyb::module_& m) {
  m.def("_from_buffer", &from_buffer, pyb::arg("source"), pyb::arg("writable_only") = false,
        "A tensor that shares the memory of a buffer.");
  m.def("_to_dlpack", &to_dlpack, pyb::arg("tensor"), "A DLPack capsule of the tensor's memory.");
  m.def("_from_dlpack_capsule", &from_dlpack_capsule, pyb::arg("capsule"),
        "A tensor over the memory of a DLPack capsule.");
  m.def("_storage_bytes", &storage_bytes, pyb::arg("tensor"), "A memoryview of the whole storage.");
  m.def("_storage_key", &storage_key, pyb::arg("tensor"), "A number that tensors of the same storage share.");
  m.def("_tensor_from_buffer", &tensor_from_buffer, pyb::arg("buffer"), pyb::arg("dtype"),
        "A 1-d tensor with a copy of the buffer's bytes.");
}

}  // namespace ctorch::py
