"""Square matrix products on one GPU, again and again: the load of gpu.gemm and gpu.burn.

``gpu_matmul.py torch|cupy`` is a worker that reads ``{precision, size, warmup, iterations}`` or
``{precision, size, warmup, seconds}`` on stdin and writes ``{products, seconds, mismatches}`` for
each batch. ``CUDA`` is the same as a C++ program. For Python 3.6 or newer, without other files.
"""

import json
import sys
import time

# The lowest compute capability that has units for it; below it the product would only be emulated.
CAPABILITIES = {"fp64": (1, 3), "fp32": (1, 0), "tf32": (8, 0), "fp16": (7, 0), "bf16": (8, 0)}
DTYPES = {
    "fp64": "float64",
    "fp32": "float32",
    "tf32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
}
BATCH_S = 1.0


def torch_products(torch, device, precision, size):
    """Return a function that computes COUNT products and returns the seconds that took, and one
    that tells whether the last product differs from the first."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    dtype = getattr(torch, DTYPES[precision])
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.mm(left, right)
    first = out.clone()
    on_gpu = torch.device(device).type == "cuda"

    def multiply(count):
        if not on_gpu:
            start = time.perf_counter()
            for _ in range(count):
                torch.mm(left, right, out=out)
            return time.perf_counter() - start
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(count):
            torch.mm(left, right, out=out)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    return multiply, lambda: not torch.equal(first, out)


def cupy_products(cupy, precision, size):
    """The same as torch_products, on the current GPU."""
    dtype = getattr(cupy, DTYPES[precision])
    left, right = (cupy.random.standard_normal((size, size), "f4").astype(dtype) for _ in range(2))
    out = cupy.matmul(left, right)
    first = out.copy()

    def multiply(count):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        for _ in range(count):
            cupy.matmul(left, right, out=out)
        end.record()
        end.synchronize()
        return cupy.cuda.get_elapsed_time(start, end) / 1e3

    return multiply, lambda: not bool((first == out).all())


def drive(products, spec, write):
    """Multiply as the spec says and write a record for each batch."""
    multiply, differs = products
    warm = multiply(spec["warmup"]) / spec["warmup"]
    if "iterations" in spec:
        for _ in range(spec["iterations"]):
            write({"products": 1, "seconds": multiply(1), "mismatches": int(differs())})
        return
    count = max(1, int(BATCH_S / warm))
    end = time.monotonic() + spec["seconds"]
    while time.monotonic() < end:
        write({"products": count, "seconds": multiply(count), "mismatches": int(differs())})


def unsupported(capability, precision):
    """Return why a GPU of this compute capability is no measure for a precision, else None."""
    needed = CAPABILITIES[precision]
    if tuple(capability) >= needed:
        return None
    return "{} needs compute capability {}.{}, this has {}.{}".format(
        precision, *(needed + tuple(capability))
    )


def main(method):
    """Do what stdin says with torch or cupy on the only visible GPU."""
    spec = json.loads(sys.stdin.readline())

    def write(record):
        print(json.dumps(record), flush=True)

    precision, size = spec["precision"], spec["size"]
    if method == "torch":
        import torch

        capability = torch.cuda.get_device_capability(0)
    else:
        import cupy

        version = cupy.cuda.Device().compute_capability
        capability = int(version[:-1]), int(version[-1])
    why = unsupported(capability, precision)
    if not why and method == "cupy" and precision in ("tf32", "bf16"):
        why = "cupy has no {} product that can be asked for".format(precision)
    if why:
        write({"skipped": why})
    elif method == "torch":
        drive(torch_products(torch, "cuda:0", precision, size), spec, write)
    else:
        drive(cupy_products(cupy, precision, size), spec, write)


# cuBLAS is loaded when the program runs and its few functions are declared here, because its
# headers are a package of their own that many hosts with nvcc lack.
CUDA = r"""
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <chrono>
#include <vector>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#define TRY(call) do { cudaError_t e_ = (call); if (e_ != cudaSuccess) { \
  fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(e_)); exit(3); } } while (0)

typedef int (*Create)(void **);
typedef int (*Gemm)(void *, int, int, int, int, int, const void *, const void *, cudaDataType_t,
                    int, const void *, cudaDataType_t, int, const void *, void *, cudaDataType_t,
                    int, int, int);

struct Precision { const char *name; cudaDataType_t type; size_t bytes; int compute, cc; };
// compute: CUBLAS_COMPUTE_32F 68, CUBLAS_COMPUTE_64F 70, CUBLAS_COMPUTE_32F_FAST_TF32 77.
// cc: the lowest compute capability that has units for it.
static const Precision precisions[] = {
  {"fp64", CUDA_R_64F, 8, 70, 13}, {"fp32", CUDA_R_32F, 4, 68, 10},
  {"tf32", CUDA_R_32F, 4, 77, 80}, {"fp16", CUDA_R_16F, 2, 68, 70},
  {"bf16", CUDA_R_16BF, 2, 68, 80}};

template <class T> __global__ void fill(T *to, size_t count, unsigned seed) {
  size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count; i += step) {
    unsigned x = (unsigned)i * 2654435761u ^ seed;  // zeros would run faster than real data
    x ^= x >> 16; x *= 0x85ebca6bu; x ^= x >> 13; x *= 0xc2b2ae35u; x ^= x >> 16;
    to[i] = (T)(float)((x >> 8) * (1.0 / 8388608) - 1.0);
  }
}

__global__ void compare(const unsigned *a, const unsigned *b, size_t count, unsigned *differ) {
  size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count; i += step)
    if (a[i] != b[i]) *differ = 1;
}

static void *symbol(void *library, const char *name) {
  void *found = library ? dlsym(library, name) : nullptr;
  if (!found) {
    printf("{\"unusable\": \"this host has no libcublas with %s: it comes with the CUDA toolkit, "
           "package libcublas\"}\n", name);
    exit(0);
  }
  return found;
}

int main() {
  char line[4096] = "";
  if (!fgets(line, sizeof line, stdin)) return 4;
  auto value = [&](const char *key) -> const char * {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    const char *at = strstr(line, quoted);
    return at ? at + strlen(quoted) : nullptr;
  };
  const Precision *p = nullptr;
  for (const Precision &one : precisions) {
    const char *name = value("precision");
    if (name && !strncmp(name + 1, one.name, 4)) p = &one;
  }
  if (!p || !value("size") || !value("warmup")) return 4;
  const int n = atoi(value("size")), warmup = atoi(value("warmup"));
  const int iterations = value("iterations") ? atoi(value("iterations")) : 0;
  const double lasting = value("seconds") ? atof(value("seconds")) : 0;

  int major = 0, minor = 0;
  TRY(cudaSetDevice(0));
  TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  TRY(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0));
  if (major * 10 + minor < p->cc) {
    printf("{\"skipped\": \"%s needs compute capability %d.%d, this has %d.%d\"}\n", p->name,
           p->cc / 10, p->cc % 10, major, minor);
    return 0;
  }
  void *library = nullptr;
  for (const char *name : {"libcublas.so", "libcublas.so.13", "libcublas.so.12", "libcublas.so.11"})
    if (!library) library = dlopen(name, RTLD_NOW);
  auto create = (Create)symbol(library, "cublasCreate_v2");
  auto gemm = (Gemm)symbol(library, "cublasGemmEx");
  void *handle;
  if (int status = create(&handle)) { fprintf(stderr, "cublasCreate: %d\n", status); return 3; }

  const size_t count = (size_t)n * n, bytes = count * p->bytes;
  void *a, *b, *c, *first;
  unsigned *differ, differs = 0;
  TRY(cudaMalloc(&a, bytes)); TRY(cudaMalloc(&b, bytes));
  TRY(cudaMalloc(&c, bytes)); TRY(cudaMalloc(&first, bytes)); TRY(cudaMalloc(&differ, 4));
  for (int seed = 1; seed <= 2; seed++) {
    void *to = seed == 1 ? a : b;
    if (p->type == CUDA_R_64F) fill<<<512, 256>>>((double *)to, count, seed);
    if (p->type == CUDA_R_32F) fill<<<512, 256>>>((float *)to, count, seed);
    if (p->type == CUDA_R_16F) fill<<<512, 256>>>((__half *)to, count, seed);
    if (p->type == CUDA_R_16BF) fill<<<512, 256>>>((__nv_bfloat16 *)to, count, seed);
    TRY(cudaGetLastError());
  }
  const float one32 = 1, zero32 = 0;
  const double one64 = 1, zero64 = 0;
  const bool wide = p->type == CUDA_R_64F;
  const void *one = wide ? (const void *)&one64 : &one32;
  const void *zero = wide ? (const void *)&zero64 : &zero32;
  cudaEvent_t start, end;
  TRY(cudaEventCreate(&start)); TRY(cudaEventCreate(&end));
  auto multiply = [&](int times) {
    TRY(cudaEventRecord(start));
    for (int i = 0; i < times; i++)
      if (int status = gemm(handle, 0, 0, n, n, n, one, a, p->type, n, b, p->type, n, zero, c,
                            p->type, n, p->compute, -1)) {
        fprintf(stderr, "cublasGemmEx: status %d\n", status);
        exit(3);
      }
    TRY(cudaEventRecord(end)); TRY(cudaEventSynchronize(end));
    float ms = 0;
    TRY(cudaEventElapsedTime(&ms, start, end));
    return ms / 1e3;
  };
  auto report = [&](int products, double seconds) {
    TRY(cudaMemset(differ, 0, 4));
    compare<<<512, 256>>>((unsigned *)first, (unsigned *)c, bytes / 4, differ);
    TRY(cudaMemcpy(&differs, differ, 4, cudaMemcpyDeviceToHost));
    printf("{\"products\": %d, \"seconds\": %.9f, \"mismatches\": %u}\n", products, seconds,
           differs);
    fflush(stdout);
  };
  multiply(1);
  TRY(cudaMemcpy(first, c, bytes, cudaMemcpyDeviceToDevice));
  const double warm = multiply(warmup) / warmup;
  for (int i = 0; i < iterations; i++) report(1, multiply(1));
  const int batch = warm < 1 ? (int)(1 / warm) : 1;
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < lasting)
    report(batch, multiply(batch));
  return 0;
}
"""

if __name__ == "__main__":
    main(sys.argv[1])
