/** What the x87 and MMX part of the microcode offers. */
export { fpuArith, fpuArithF32, fpuArithF64, fpuArithInt, fpuSign, fpuSqrt } from "./arith";
export { fpuCompare, fpuCompareF32, fpuCompareF64, fpuCompareFlags, fpuCompareInt, fpuExamine, fpuTest } from "./compare";
export {
  fpuClear, fpuExchange, fpuFree, fpuInit, fpuLoadControl, fpuMove, fpuRotate, fpuStatus, mmxEmpty, mmxEnter, mmxPut,
} from "./control";
export {
  fpuEnv, fpuEnvStored, fpuLoadEnv, fpuRestore, fpuSave, fxrstorImage, fxsaveImage, loadX87Image, x87Image,
} from "./image";
export { fpuLoadBcd, fpuLoadConstant, fpuLoadF32, fpuLoadF64, fpuLoadF80, fpuLoadInt, fpuLoadSt } from "./load";
export { fpuExtract, fpuRemainder, fpuRoundInt, fpuScale } from "./remainder";
export { fpuStoreBcd, fpuStored, fpuStoreF32, fpuStoreF64, fpuStoreF80, fpuStoreInt, fpuStoreSt, fpuStoreStQuietly } from "./store";
export { fpuArcTangent } from "./arctangent";
export { fpu2xm1 } from "./exponential";
export { fpuYl2x, fpuYl2xp1 } from "./logarithm";
export { fpuSine, fpuSineCosine, fpuTangent } from "./trigonometric";
