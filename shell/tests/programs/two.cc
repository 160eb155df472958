// Catches what the other module throws, by its class.
#include <cstring>
#include <iostream>
#include "negative.h"

static struct Global {
    Global() { std::cout << "made" << std::endl; }
    ~Global() { std::cout << "ended" << std::endl; }
} global;

extern "C" long across(long n) {
    try {
        return add(n);
    } catch (const Negative &error) {
        return -static_cast<long>(std::strlen(error.what()));
    }
}
