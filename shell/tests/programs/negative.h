// An exception whose class both modules know; the first one defines it.
#pragma once
#include <stdexcept>

struct Negative : std::runtime_error {
    using std::runtime_error::runtime_error;
    ~Negative() override;
};

long add(long n);
