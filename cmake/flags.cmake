# Language, warnings, hardening, optimisation and sanitizers, for every target of the project.

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Debug CACHE STRING "Debug or Release" FORCE)
endif()

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
add_compile_definitions(_GNU_SOURCE)
include_directories("${CMAKE_SOURCE_DIR}/src" "${CMAKE_SOURCE_DIR}/include")

# Assertions stay on in every build type: none of these defines NDEBUG.
set(CMAKE_C_FLAGS_DEBUG "-g")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1")

# Everything ends in executables, so PIE rather than PIC: calls inside a file may be inlined.
add_compile_options(
    -fPIE
    $<$<COMPILE_LANGUAGE:C>:-fno-omit-frame-pointer>
    $<$<COMPILE_LANGUAGE:C>:-fno-strict-aliasing>
    $<$<COMPILE_LANGUAGE:C>:-fno-common>
    $<$<COMPILE_LANGUAGE:C>:-fstack-protector-strong>
    $<$<COMPILE_LANGUAGE:C>:-ffunction-sections>
    $<$<COMPILE_LANGUAGE:C>:-fdata-sections>)
add_link_options(-pie -Wl,--as-needed -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-z,noexecstack)

# One binary for every x86-64 machine since 2009 (SSE4.2: CRC32C). Functions that use more (AVX2)
# carry a target attribute and are chosen at run time.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    add_compile_options($<$<COMPILE_LANGUAGE:C>:-march=x86-64-v2>)
endif()

set(TIDEMILL_WARNINGS
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes
    -Wmissing-prototypes -Wvla -Walloca -Wundef -Wformat=2 -Wswitch-enum -Wcast-qual
    -Wnull-dereference -Wimplicit-fallthrough)
if(TIDEMILL_WERROR)
    list(APPEND TIDEMILL_WARNINGS -Werror)
endif()
foreach(warning IN LISTS TIDEMILL_WARNINGS)
    add_compile_options($<$<COMPILE_LANGUAGE:C>:${warning}>)
endforeach()

if(TIDEMILL_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "TIDEMILL_FUZZ needs clang: use `cmake --preset fuzz`")
    endif()
    add_compile_options($<$<COMPILE_LANGUAGE:C>:-fsanitize=fuzzer-no-link>)
endif()
if(TIDEMILL_SANITIZE)
    add_compile_options(
        $<$<COMPILE_LANGUAGE:C>:-fsanitize=${TIDEMILL_SANITIZE}>
        $<$<COMPILE_LANGUAGE:C>:-fno-sanitize-recover=all>)
    add_link_options(-fsanitize=${TIDEMILL_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
    add_compile_definitions($<$<COMPILE_LANGUAGE:C>:_FORTIFY_SOURCE=2>)
endif()
