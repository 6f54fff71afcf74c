// Keeps one binary, built with a new compiler, loadable on systems with glibc 2.28 and its libstdc++ (GLIBCXX_3.4.25).
//
// `objdump -T` on the built addon lists what it asks for. What was needed besides this file: pthread_create by its old version
// (resolver.cpp), libuv's mutex and condition instead of the standard ones, and no std::shared_ptr.

#include <cstdlib>  // also defines __GLIBCXX__

#ifdef __GLIBCXX__
namespace std {
// The allocators of GCC 12 call it (GLIBCXX_3.4.29) when a container grows beyond the address space.
void __throw_bad_array_new_length() { abort(); }
}  // namespace std
#endif
