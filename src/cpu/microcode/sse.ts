/** What the SSE part of the microcode offers to generated code. */
export {
  sseComiF32, sseComiF64, sseCvtF32ToF64, sseCvtF32ToI32, sseCvtF32ToI64, sseCvtF64ToF32, sseCvtF64ToI32, sseCvtF64ToI64,
  sseCvtI32ToF32, sseCvtI64ToF32, sseCvtI64ToF64, sseF32Compare, sseF32Op, sseF32Packed, sseF32Round, sseF64Compare, sseF64Op,
  sseF64Packed, sseF64Round,
} from "./sse-float";
export { sseLoadMxcsr } from "./mxcsr";
export { sseMaskedStore } from "./sse/masked-store";
export { avxGather, avxMaskedLoad, avxMaskedStore } from "./sse/masked-vectors";
export {
  sseAesDecrypt, sseAesDecryptLast, sseAesEncrypt, sseAesEncryptLast, sseAesInverseMix, sseAesKeyAssist,
} from "./sse/aes";
export { sseMultiplyCarryless } from "./sse/clmul";
export { sseDotF32, sseDotF64 } from "./sse/dot";
export { sseF32Fused, sseF64Fused } from "./sse/fused";
export { sseHalfToSingle, sseSingleToHalf } from "./sse/half";
export {
  sseSha1Message1, sseSha1Message2, sseSha1NextE, sseSha1Rounds, sseSha256Message1, sseSha256Message2, sseSha256Rounds,
} from "./sse/sha";
export { sseCompareExplicit, sseCompareImplicit } from "./sse/strings";
