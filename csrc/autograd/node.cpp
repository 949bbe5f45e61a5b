#include "autograd/node.h"

#include <atomic>

namespace ctorch {
namespace {

std::atomic<int64_t> g_sequence{1};
thread_local std::vector<Node*>* t_graveyard = nullptr;

}  // namespace

Node::Node() : sequence(g_sequence.fetch_add(1, std::memory_order_relaxed)) {}

void Node::dispose() noexcept {
  if (t_graveyard) {  // below another node's destruction: the loop there takes this one next
    t_graveyard->push_back(this);
    return;
  }
  std::vector<Node*> graveyard{this};
  t_graveyard = &graveyard;
  while (!graveyard.empty()) {
    Node* node = graveyard.back();
    graveyard.pop_back();
    delete node;
  }
  t_graveyard = nullptr;
}

}  // namespace ctorch
