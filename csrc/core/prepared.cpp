#include "core/prepared.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "core/storage.h"

namespace ctorch {
namespace {

constexpr int64_t kDefaultLimit = int64_t{256} << 20;
// Views of one storage with forms of their own; the oldest makes room.
constexpr size_t kMostPerStorage = 8;

std::atomic<int64_t> g_bytes{0}, g_limit{kDefaultLimit};
std::mutex g_mutex;  // over the forms of all storages: held for a look at them, not while one is made

}  // namespace

PreparedBytes::PreparedBytes(int64_t bytes) : memory_(static_cast<size_t>(bytes)), bytes_(bytes) {
  g_bytes += bytes;
}
PreparedBytes::~PreparedBytes() { g_bytes -= bytes_; }

PreparedForm prepared_form(const Tensor& weight, PreparedKey key, int64_t bytes,
                           FunctionRef<void(void*)> write) {
  Storage& storage = *weight.storage();
  if (!storage.counts_all_writes()) return nullptr;
  key.push_back(weight.offset());
  key.push_back(static_cast<int64_t>(weight.dtype()));
  key.push_back(bytes);
  key.insert(key.end(), weight.sizes().begin(), weight.sizes().end());
  key.insert(key.end(), weight.strides().begin(), weight.strides().end());
  const int64_t writes = storage.writes();
  auto find = [&]() -> PreparedForms::Entry* {
    auto& entries = storage.prepared->entries;
    const auto at = std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return e.key == key; });
    return at == entries.end() ? nullptr : &*at;
  };
  {
    const std::lock_guard lock(g_mutex);
    if (!storage.prepared) storage.prepared = std::make_unique<PreparedForms>();
    auto& entries = storage.prepared->entries;
    std::erase_if(entries, [&](const auto& e) { return e.writes != writes && e.key != key; });
    PreparedForms::Entry* entry = find();
    if (!entry) {
      if (entries.size() == kMostPerStorage) entries.erase(entries.begin());
      entries.push_back({std::move(key), writes, nullptr});
      return nullptr;
    }
    if (entry->writes != writes) {
      entry->writes = writes;
      entry->form = nullptr;
      return nullptr;
    }
    if (g_bytes + (entry->form ? 0 : bytes) > g_limit) {
      entry->form = nullptr;
      return nullptr;
    }
    if (entry->form) return entry->form;
  }
  auto made = std::make_shared<PreparedBytes>(bytes);
  write(made->data());
  const std::lock_guard lock(g_mutex);
  PreparedForms::Entry* entry = find();
  if (entry && entry->writes == writes && storage.writes() == writes) entry->form = made;
  return made;
}

int64_t prepared_bytes() { return g_bytes; }
int64_t prepared_limit() { return g_limit; }
void set_prepared_limit(int64_t bytes) { g_limit = bytes; }

}  // namespace ctorch
