# A toolchain file: the core for another system, by the compiler that `pip install ziglang` brings, with the C libraries and
# headers of all of them. VOXTRAL_TARGET names the system as zig does: x86_64-windows-gnu, aarch64-macos, ...
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES VOXTRAL_TARGET ZIG)
string(REPLACE "-" ";" parts "${VOXTRAL_TARGET}")
list(GET parts 0 CMAKE_SYSTEM_PROCESSOR)
list(GET parts 1 system)
if(system STREQUAL "windows")
  set(CMAKE_SYSTEM_NAME Windows)
elseif(system MATCHES "^macos")
  set(CMAKE_SYSTEM_NAME Darwin)
else()
  set(CMAKE_SYSTEM_NAME Linux)
endif()
if(NOT ZIG)
  find_program(PYTHON python3 REQUIRED)
  execute_process(COMMAND "${PYTHON}" -c "import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).parent / 'zig')"
                  OUTPUT_VARIABLE ZIG OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endif()
set(CMAKE_C_COMPILER "${ZIG}" cc -target "${VOXTRAL_TARGET}")
set(CMAKE_RC_COMPILER "${ZIG}") # nothing needs it, but CMake asks
set(CMAKE_RC_COMPILER_WORKS TRUE)
# CMake wants one file each.
foreach(tool ar ranlib)
  file(WRITE "${CMAKE_BINARY_DIR}/zig-${tool}" "#!/bin/sh\nexec '${ZIG}' ${tool} \"$@\"\n")
  file(CHMOD "${CMAKE_BINARY_DIR}/zig-${tool}" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
endforeach()
set(CMAKE_AR "${CMAKE_BINARY_DIR}/zig-ar")
set(CMAKE_RANLIB "${CMAKE_BINARY_DIR}/zig-ranlib")
# Whether an option is known is asked by compiling: linking would build another C library for each.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
