#include <pybind11/pybind11.h>

#include "core/cpu_info.h"

PYBIND11_MODULE(_C, m, pybind11::mod_gil_not_used()) {
  m.def("_isa", [] { return std::string(ctorch::isa_name(ctorch::active_isa())); });
}
