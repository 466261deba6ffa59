// The classes that promises of loads make objects of.
#pragma once

#include <napi.h>

namespace tfserve::addon {

/// The environment's instance data.
struct AddonClasses {
    Napi::FunctionReference model;
    Napi::FunctionReference speech_model;
};

}  // namespace tfserve::addon
