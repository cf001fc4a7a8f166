/* Marks functions that a GPU's compiler takes as device code too, so that the numbers on which results depend
 * to the bit come from one text. Headers that use it include nothing that such a compiler does not have. */
#ifndef RK_BASE_DEVICE_CODE_H
#define RK_BASE_DEVICE_CODE_H

#ifdef __CUDACC__
#define RK_DEVICE __host__ __device__
#else
#define RK_DEVICE
#endif

#endif
