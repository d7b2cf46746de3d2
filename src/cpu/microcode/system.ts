/** What the system rooms of the microcode offer to generated code and the accelerator. */
export { blockHashIndex, findBlock, translateCode } from "./blocks";
export { readCr, readDr, writeCr, writeDr, xsetbv } from "./control";
export { deliverException, deliverInterrupt } from "./exceptions";
export { farCall, farJump, farReturn } from "./far";
export { iret } from "./iret";
export { probe, readGuest, readSystem, rmwCommit, slowLoad, slowRmw, slowStore, writeGuest, writeSystem } from "./memory";
export { updateMode } from "./mode";
export { readMsr, readTsc, writeMsr } from "./msr";
export { physRead, physWrite, ramHost } from "./physical";
export { resetCpu } from "./reset";
export { lar, lldt, loadSegment, lsl, ltr, segmentAccess, swapgs, verify } from "./segments";
export { getFlags, setArithmeticFlags, setFlags } from "./state";
export { bumpGeneration, flushTlb, invlpg, resetTlb, tlbCodePage, tlbFill } from "./tlb";
