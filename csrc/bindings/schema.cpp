#include "bindings/schema.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string_view>

namespace ctorch::py {
namespace {

[[noreturn]] void bad_schema(const char* text, const char* why) {
  throw std::logic_error(std::string("internal error: schema '") + text + "': " + why);
}

struct KindName {
  std::string_view name;
  Kind kind;
};
constexpr KindName kKinds[] = {
    {"Tensor", Kind::tensor},
    {"Tensor[]", Kind::tensor_list},
    {"Operand", Kind::operand},
    {"Scalar", Kind::scalar},
    {"int", Kind::integer},
    {"int[]", Kind::int_list},
    {"float", Kind::floating},
    {"float[]", Kind::float_list},
    {"bool", Kind::boolean},
    {"str", Kind::string},
    {"dtype", Kind::dtype},
    {"device", Kind::device},
    {"layout", Kind::layout},
    {"Generator", Kind::generator},
    {"Out", Kind::out},
    {"any", Kind::any},
    {"memory_format", Kind::memory_format},
};

const char* kind_text(Kind kind) {
  switch (kind) {
    case Kind::tensor: return "Tensor";
    case Kind::tensor_list: return "tuple of Tensors";
    case Kind::operand: return "Tensor or Number";
    case Kind::scalar: return "Number";
    case Kind::integer: return "int";
    case Kind::int_list: return "tuple of ints";
    case Kind::floating: return "float";
    case Kind::float_list: return "tuple of floats";
    case Kind::boolean: return "bool";
    case Kind::string: return "str";
    case Kind::dtype: return "ctorch.dtype";
    case Kind::device: return "ctorch.device";
    case Kind::memory_format: return "ctorch.memory_format";
    case Kind::layout: return "ctorch.layout";
    case Kind::generator: return "Generator";
    case Kind::out: return "Tensor or tuple of Tensors";
    default: return "object";
  }
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

PyObject* parse_default(std::string_view s, const char* text) {
  if (s == "None") return Py_NewRef(Py_None);
  if (s == "True") return Py_NewRef(Py_True);
  if (s == "False") return Py_NewRef(Py_False);
  if (s.front() == '\'' || s.front() == '"')
    return PyUnicode_InternFromString(std::string(s.substr(1, s.size() - 2)).c_str());
  if (s.front() == '[' || s.front() == '(') {
    std::string_view inner = trim(s.substr(1, s.size() - 2));
    Object list = Object::steal(checked(PyList_New(0)));
    while (!inner.empty()) {
      size_t comma = inner.find(',');
      Object item = Object::steal(parse_default(trim(inner.substr(0, comma)), text));
      PyList_Append(list.get(), item.get());
      inner = comma == std::string_view::npos ? std::string_view() : trim(inner.substr(comma + 1));
    }
    return checked(PyList_AsTuple(list.get()));
  }
  std::string number(s);
  if (number.find_first_of(".e") != std::string::npos || number.find("inf") != std::string::npos) {
    return PyFloat_FromDouble(std::stod(number));
  }
  if (number.find_first_not_of("-0123456789") != std::string::npos) bad_schema(text, "cannot read a default");
  return PyLong_FromString(number.c_str(), nullptr, 10);
}

Param parse_param(std::string_view s, const char* text) {
  Param p{};
  size_t equals = s.find('=');
  std::string_view left = trim(s.substr(0, equals));
  size_t space = left.rfind(' ');
  if (space == std::string_view::npos) bad_schema(text, "a parameter needs a type and a name");
  std::string_view type = trim(left.substr(0, space));
  if (type.ends_with("...")) {
    p.variadic = true;
    type.remove_suffix(3);
  }
  if (type.ends_with("?")) {
    p.optional = true;
    type.remove_suffix(1);
  }
  bool known = false;
  for (const auto& k : kKinds) {
    if (k.name == type) p.kind = k.kind, known = true;
  }
  if (!known) bad_schema(text, "unknown type");
  if (p.variadic && p.kind == Kind::integer) p.kind = Kind::int_list;  // int... is a list of ints
  p.name = PyUnicode_InternFromString(std::string(trim(left.substr(space + 1))).c_str());
  p.text = PyUnicode_AsUTF8(p.name);
  if (equals != std::string_view::npos) p.fallback = parse_default(trim(s.substr(equals + 1)), text);
  if (p.kind == Kind::out || p.fallback == Py_None) p.optional = true;
  return p;
}

// A named tuple in the style of PyTorch's: ctorch.return_types.max(values=..., indices=...).
PyTypeObject* make_result_type(const std::string& op, std::string_view results) {
  std::vector<std::string> names;
  while (!results.empty()) {
    size_t comma = results.find(',');
    std::string_view item = trim(results.substr(0, comma));
    size_t space = item.rfind(' ');
    if (space == std::string_view::npos) return nullptr;  // a plain tuple
    names.emplace_back(item.substr(space + 1));
    results = comma == std::string_view::npos ? std::string_view() : results.substr(comma + 1);
  }
  auto* fields = new PyStructSequence_Field[names.size() + 1];  // lives as long as the type
  for (size_t i = 0; i < names.size(); ++i) fields[i] = {strdup(names[i].c_str()), nullptr};
  fields[names.size()] = {nullptr, nullptr};
  PyStructSequence_Desc desc{strdup(("torch.return_types." + op).c_str()), nullptr, fields,
                             static_cast<int>(names.size())};
  return PyStructSequence_NewType(&desc);
}

bool is_integer(PyObject* p) {
  if (PyLong_Check(p)) return !PyBool_Check(p);  // True is no size and no dim
  if (is_tensor(p)) {
    const Tensor& t = as_tensor(p);
    return t.numel() == 1 && t.dim() == 0 && is_integral(t.dtype());
  }
  return PyIndex_Check(p);
}

bool is_number(PyObject* p) {
  if (PyFloat_Check(p) || PyLong_Check(p) || PyComplex_Check(p)) return true;
  if (is_tensor(p) || PySequence_Check(p) || PyUnicode_Check(p)) return false;
  PyNumberMethods* n = Py_TYPE(p)->tp_as_number;
  return n && (n->nb_index || n->nb_float);
}

bool is_sequence(PyObject* p) { return PyTuple_Check(p) || PyList_Check(p); }

template <class Fn>
bool all_items(PyObject* sequence, Fn fn) {
  Py_ssize_t n = PySequence_Fast_GET_SIZE(sequence);
  PyObject** items = PySequence_Fast_ITEMS(sequence);
  for (Py_ssize_t i = 0; i < n; ++i) {
    if (!fn(items[i])) return false;
  }
  return true;
}

std::map<std::string, std::unique_ptr<Operation>>& registry() {
  static auto* operations = new std::map<std::string, std::unique_ptr<Operation>>;
  return *operations;
}

// NumPy's names for some arguments, which PyTorch takes too.
const char* numpy_alias(const char* name) {
  if (!std::strcmp(name, "axis")) return "dim";
  if (!std::strcmp(name, "keepdims")) return "keepdim";
  if (!std::strcmp(name, "x") || !std::strcmp(name, "a") || !std::strcmp(name, "x1") ||
      !std::strcmp(name, "self"))
    return "input";
  if (!std::strcmp(name, "x2")) return "other";
  return nullptr;
}

int find_param(const Overload& ov, PyObject* name) {
  int n = static_cast<int>(ov.params.size());
  for (int i = 0; i < n; ++i) {
    if (ov.params[i].name == name) return i;
  }
  const char* text = PyUnicode_AsUTF8(name);
  for (int i = 0; i < n; ++i) {
    if (!std::strcmp(ov.params[i].text, text)) return i;
  }
  const char* alias = numpy_alias(text);
  for (int i = 0; alias && i < n; ++i) {
    if (!std::strcmp(ov.params[i].text, alias)) return i;
  }
  for (int i = 0; !std::strcmp(text, "dims") && i < n; ++i) {
    if (!std::strcmp(ov.params[i].text, "dim")) return i;
  }
  return -1;
}

// Fills slots from the call. False with a reason (or without, if nobody will read it) when it does not fit.
bool try_bind(const Overload& ov, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
              PyObject** slots, Object& keep, std::string* why) {
  int n = static_cast<int>(ov.params.size());
  auto refuse = [&](auto&&... parts) {
    if (why) *why = concat(parts...);
    return false;
  };
  Py_ssize_t taken = std::min<Py_ssize_t>(nargs, ov.positional);
  for (Py_ssize_t i = 0; i < taken; ++i) slots[i] = args[i];
  for (int i = static_cast<int>(taken); i < n; ++i) slots[i] = nullptr;
  // view(2, 3): ints up to the end stand for the list. view((2, 3)) is the plain case.
  for (int i = 0; i < taken; ++i) {
    if (!ov.params[i].variadic || is_sequence(args[i])) continue;
    if (!is_integer(args[i])) break;
    if (i + 1 < ov.positional && nargs <= ov.positional && nargs > i + 1 && !is_integer(args[i + 1])) break;
    keep = Object::steal(PyTuple_New(nargs - i));
    for (Py_ssize_t j = i; j < nargs; ++j) PyTuple_SET_ITEM(keep.get(), j - i, Py_NewRef(args[j]));
    slots[i] = keep.get();
    for (int j = i + 1; j < taken; ++j) slots[j] = nullptr;
    taken = nargs;
    break;
  }
  for (int i = 0; taken == 0 && nargs == 0 && i < ov.positional; ++i) {  // view() of no sizes: an empty shape
    if (ov.params[i].variadic && !ov.params[i].fallback && !kwnames) {
      keep = Object::steal(PyTuple_New(0));
      slots[i] = keep.get();
    }
  }
  if (nargs == 1 && ov.positional == 2 && ov.params[1].variadic && !ov.params[1].fallback && !kwnames) {
    keep = Object::steal(PyTuple_New(0));
    slots[1] = keep.get();
  }
  if (nargs > taken) {
    return refuse("takes ", ov.positional, " positional arguments but ", nargs, " were given");
  }
  if (kwnames) {
    Py_ssize_t nkw = PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t k = 0; k < nkw; ++k) {
      PyObject* name = PyTuple_GET_ITEM(kwnames, k);
      int at = find_param(ov, name);
      if (at < 0) return refuse("got an unexpected keyword argument '", PyUnicode_AsUTF8(name), "'");
      if (slots[at]) return refuse("got multiple values for argument '", PyUnicode_AsUTF8(name), "'");
      slots[at] = args[nargs + k];
    }
  }
  for (int i = 0; i < n; ++i) {
    const Param& p = ov.params[i];
    if (!slots[i]) {
      slots[i] = p.fallback;
      if (!slots[i]) return refuse("missing required argument '", p.text, "' (position ", i + 1, ")");
    } else if (!accepts(p, slots[i])) {
      return refuse("argument '", p.text, "' (position ", i + 1, ") must be ", kind_text(p.kind), ", not ",
                    Py_TYPE(slots[i])->tp_name);
    }
  }
  return true;
}

std::string describe_call(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  std::string text = "(";
  Py_ssize_t nkw = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
  for (Py_ssize_t i = 0; i < nargs + nkw; ++i) {
    if (i) text += ", ";
    if (i >= nargs) text += std::string(PyUnicode_AsUTF8(PyTuple_GET_ITEM(kwnames, i - nargs))) + "=";
    text += Py_TYPE(args[i])->tp_name;
  }
  return text + ")";
}

}  // namespace

std::unique_ptr<Overload> parse_schema(const char* text) {
  auto ov = std::make_unique<Overload>();
  std::string_view s(text);
  ov->text = text;
  size_t open = s.find('(');
  if (open == std::string_view::npos) bad_schema(text, "no parameter list");
  std::string_view name = s.substr(0, open);
  if (size_t dot = name.find('.'); dot != std::string_view::npos) {
    ov->suffix = name.substr(dot + 1);
    name = name.substr(0, dot);
  }
  size_t depth = 0, close = open;
  for (size_t i = open; i < s.size(); ++i) {
    depth += s[i] == '(';
    if (s[i] == ')' && --depth == 0) {
      close = i;
      break;
    }
  }
  std::string_view list = s.substr(open + 1, close - open - 1);
  bool keyword_only = false;
  while (!(list = trim(list)).empty()) {
    size_t end = 0;
    for (int brackets = 0; end < list.size() && (brackets || list[end] != ','); ++end) {
      brackets += (list[end] == '[' || list[end] == '(') - (list[end] == ']' || list[end] == ')');
    }
    std::string_view item = trim(list.substr(0, end));
    if (item == "*") {
      keyword_only = true;
    } else {
      Param p = parse_param(item, text);
      p.keyword_only = keyword_only;
      int index = static_cast<int>(ov->params.size());
      if (p.kind == Kind::out) ov->out_index = index;
      if (p.kind == Kind::tensor || p.kind == Kind::tensor_list || p.kind == Kind::operand ||
          p.kind == Kind::scalar)
        ov->tensor_params.push_back(index);
      ov->params.push_back(p);
      if (!keyword_only) ov->positional = index + 1;
    }
    list = end < list.size() ? list.substr(end + 1) : std::string_view();
  }
  if (ov->params.size() > kMaxParams) bad_schema(text, "too many parameters");
  auto param_at = [&](std::string_view name) {
    auto found = std::ranges::find(ov->params, name, &Param::text);
    return found == ov->params.end() ? -1 : static_cast<int>(found - ov->params.begin());
  };
  const bool makes_tensor = ov->out_index >= 0 && param_at("requires_grad") >= 0;
  if (makes_tensor) ov->factory_dtype = param_at("dtype");
  size_t arrow = s.find("-> (", close);
  if (arrow != std::string_view::npos) {
    std::string_view results = s.substr(arrow + 4);
    ov->result_type = make_result_type(std::string(name), results.substr(0, results.rfind(')')));
  }
  return ov;
}

bool accepts(const Param& param, PyObject* arg) {
  if (arg == Py_None) return param.optional || param.kind == Kind::any;
  switch (param.kind) {
    case Kind::tensor: return is_tensor(arg);
    case Kind::tensor_list:
      return is_sequence(arg) && all_items(arg, [](PyObject* p) { return is_tensor(p); });
    case Kind::operand: return is_tensor(arg) || is_number(arg);
    case Kind::scalar: return is_number(arg) || (is_tensor(arg) && as_tensor(arg).dim() == 0);
    case Kind::integer: return is_integer(arg);
    case Kind::int_list: return is_sequence(arg) ? all_items(arg, is_integer) : is_integer(arg);
    case Kind::floating: return is_number(arg) || (is_tensor(arg) && as_tensor(arg).dim() == 0);
    case Kind::float_list: return is_sequence(arg) ? all_items(arg, is_number) : is_number(arg);
    case Kind::boolean: return PyBool_Check(arg) || !std::strcmp(Py_TYPE(arg)->tp_name, "numpy.bool");
    case Kind::string: return PyUnicode_Check(arg);
    case Kind::dtype:
      return is_dtype(arg) || arg == reinterpret_cast<PyObject*>(&PyFloat_Type) ||
             arg == reinterpret_cast<PyObject*>(&PyLong_Type) ||
             arg == reinterpret_cast<PyObject*>(&PyBool_Type) ||
             arg == reinterpret_cast<PyObject*>(&PyComplex_Type);
    case Kind::device: return Py_TYPE(arg) == g_device_type || PyUnicode_Check(arg) || PyLong_CheckExact(arg);
    case Kind::memory_format: return Py_TYPE(arg) == g_memory_format_type;
    case Kind::layout: return Py_TYPE(arg) == g_layout_type;
    case Kind::generator: return Py_TYPE(arg) == g_generator_type;
    case Kind::out:
      return is_tensor(arg) || (is_sequence(arg) && all_items(arg, [](PyObject* p) { return is_tensor(p); }));
    case Kind::any: return true;
  }
  return false;
}

const Overload* bind_arguments(const Operation& op, PyObject* const* args, Py_ssize_t nargs,
                               PyObject* kwnames, PyObject** slots, Object& keep) {
  for (const auto& ov : op.overloads) {
    if (try_bind(*ov, args, nargs, kwnames, slots, keep, nullptr)) return ov.get();
  }
  std::string why;
  if (op.overloads.size() == 1) {
    try_bind(*op.overloads[0], args, nargs, kwnames, slots, keep, &why);
    why = concat(op.name, "(): ", why);
  } else {
    why = concat(op.name, "() received an invalid combination of arguments - got ",
                 describe_call(args, nargs, kwnames), ", but expected one of:");
    for (const auto& ov : op.overloads) why += "\n * " + ov->text;
  }
  PyErr_SetString(PyExc_TypeError, why.c_str());
  return nullptr;
}

Operation* find_operation(const std::string& name) {
  auto found = registry().find(name);
  return found == registry().end() ? nullptr : found->second.get();
}

Operation* make_operation(const std::string& name) {
  auto& place = registry()[name];
  if (!place) {
    place = std::make_unique<Operation>();
    place->name = name;
  }
  return place.get();
}

std::vector<Operation*> all_operations() {
  std::vector<Operation*> all;
  for (auto& [name, op] : registry()) all.push_back(op.get());
  return all;
}

}  // namespace ctorch::py
