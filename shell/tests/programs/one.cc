// Streams, containers, exceptions, threads and thread-local objects of the C++ standard library.
#include <atomic>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include "negative.h"

Negative::~Negative() = default;

static std::map<std::string, long> sums;
static std::atomic<long> ended;

struct Counter {
    long count = 0;
    ~Counter() { ended += count; }
};
static thread_local Counter counter;

long add(long n) {
    if (n < 0) throw Negative("negative: " + std::to_string(n));
    sums[std::to_string(n % 3)] += n;
    return counter.count += n;
}

static long sum() {
    long total = 0;
    for (const auto &entry : sums) total += entry.second;
    return total;
}

// Three threads add `n` twice each, and this one once: in all 7 n, of which 6 n are in counters that have ended.
extern "C" long alone(long n) {
    for (int i = 0; i < 3; i++) std::thread([n] { add(n), add(n); }).join();
    long caught = 0;
    try {
        add(-1);
    } catch (const std::exception &error) {
        caught = static_cast<long>(std::string(error.what()).size());
        std::cout << error.what() << std::endl;
    }
    return (ended * 100 + add(n)) * 100 + caught * 10 + (sum() == 7 * n);
}
