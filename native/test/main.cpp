// Runs all tests, or those whose name or file contains one of the arguments.
#include <algorithm>
#include <chrono>
#include <exception>
#include <iostream>
#include <string>

#include "testing.h"

int main(int argc, char** argv) {
    using namespace tfserve::testing;
    int passed = 0;
    int failed = 0;
    const auto wanted = [&](const Test& test) {
        if (argc < 2) return true;
        const std::string text = test.file.substr(test.file.find_last_of("/\\") + 1) + " " + test.name;
        return std::any_of(argv + 1, argv + argc, [&](const char* part) { return text.find(part) != std::string::npos; });
    };
    for (const Test& test : tests()) {
        if (!wanted(test)) continue;
        failures() = 0;
        const auto begin = std::chrono::steady_clock::now();
        try {
            test.body();
        } catch (const Abandoned&) {
            // the check that failed is reported already
        } catch (const std::exception& error) {
            report(test.file.c_str(), 0, std::string("exception: ") + error.what());
        }
        const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin).count();
        std::cout << (failures() == 0 ? "ok   " : "FAIL ") << test.name << " (" << ms << " ms)" << std::endl;
        ++(failures() == 0 ? passed : failed);
    }
    std::cout << passed << " passed, " << failed << " failed" << std::endl;
    return failed == 0 && passed > 0 ? 0 : 1;
}
