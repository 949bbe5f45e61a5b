// Picks the level's kernels at first use. Compiled once, for every machine.
#include "core/error.h"
#include "kernels/table.h"

namespace ctorch {

#define CT_DECLARE(Name, name) void fill_##name(Name##Table&);
namespace isa_generic {
CT_KERNEL_FAMILIES(CT_DECLARE)
}
#ifdef CTORCH_X86_LEVELS
namespace isa_avx2 {
CT_KERNEL_FAMILIES(CT_DECLARE)
}
namespace isa_avx512 {
CT_AVX512_FAMILIES(CT_DECLARE)
}
#endif
#ifdef CTORCH_AVX512_BF16_KERNELS
namespace isa_avx512_bf16 {
CT_AVX512_BF16_FAMILIES(CT_DECLARE)
}
#endif
#ifdef CTORCH_AMX_KERNELS
namespace isa_amx {
CT_AMX_FAMILIES(CT_DECLARE)
}
#endif
#undef CT_DECLARE

namespace {

KernelTable make_table(IsaLevel level) {
  KernelTable table{};
#define CT_FILL_GENERIC(Name, name) isa_generic::fill_##name(table.name);
#define CT_FILL_AVX2(Name, name) isa_avx2::fill_##name(table.name);
#define CT_FILL_AVX512(Name, name) isa_avx512::fill_##name(table.name);
#define CT_FILL_AVX512_BF16(Name, name) isa_avx512_bf16::fill_##name(table.name);
#define CT_FILL_AMX(Name, name) isa_amx::fill_##name(table.name);
#ifdef CTORCH_X86_LEVELS
  if (level == IsaLevel::generic) {
    CT_KERNEL_FAMILIES(CT_FILL_GENERIC)
  } else {
    CT_KERNEL_FAMILIES(CT_FILL_AVX2)
  }
  if (level >= IsaLevel::avx512) {
    CT_AVX512_FAMILIES(CT_FILL_AVX512)
  }
#else
  check(level == IsaLevel::generic, "kernels: level ", isa_name(level), " is not built for this processor");
  CT_KERNEL_FAMILIES(CT_FILL_GENERIC)
#endif
#ifdef CTORCH_AVX512_BF16_KERNELS
  if (level >= IsaLevel::avx512_bf16) {
    CT_AVX512_BF16_FAMILIES(CT_FILL_AVX512_BF16)
  }
#endif
#ifdef CTORCH_AMX_KERNELS
  if (level == IsaLevel::amx) {
    CT_AMX_FAMILIES(CT_FILL_AMX)
  }
#endif
#undef CT_FILL_GENERIC
#undef CT_FILL_AVX2
#undef CT_FILL_AVX512
#undef CT_FILL_AVX512_BF16
#undef CT_FILL_AMX
  return table;
}

}  // namespace

const KernelTable& cpu_kernels(IsaLevel level) {
  check(level <= best_isa(), "kernels: this machine has no level ", isa_name(level), ", only ",
        isa_name(best_isa()));
  static const KernelTable tables[kNumIsaLevels] = {
      make_table(IsaLevel::generic),
      make_table(best_isa() >= IsaLevel::avx2 ? IsaLevel::avx2 : IsaLevel::generic),
      make_table(best_isa() >= IsaLevel::avx512 ? IsaLevel::avx512 : IsaLevel::generic),
      make_table(best_isa() >= IsaLevel::avx512_bf16 ? IsaLevel::avx512_bf16 : IsaLevel::generic),
      make_table(best_isa() >= IsaLevel::amx ? IsaLevel::amx : IsaLevel::generic),
  };
  return tables[static_cast<int>(level)];
}

const KernelTable& cpu_kernels() {
  static const KernelTable& table = cpu_kernels(active_isa());
  return table;
}

}  // namespace ctorch
