/** `shardfetch/load`: the load tester as a library. The command line is `src/cli/`. */

export { HISTOGRAM_MAX, Histogram } from '../../protocol/load/histogram.ts';
export type {
  HoldMemory,
  HoldPhase,
  HoldProcessResult,
  HoldProgress,
  HoldResult,
  HoldSecond,
} from '../../protocol/load/hold.ts';
export {
  LATE_MS,
  LOAD_PERCENTILES,
  LOAD_PHASES,
  LOAD_SCHEMA,
  type LoadCheck,
  type LoadConnections,
  type LoadDistribution,
  type LoadEnvironment,
  type LoadGenerator,
  type LoadIterations,
  type LoadPhase,
  type LoadProgress,
  type LoadRequests,
  type LoadResult,
  type LoadRunOptions,
  type LoadSecond,
  type LoadShardHealth,
  type LoadTagResult,
  type LoadThresholdResult,
  type LoadVerdict,
} from '../../protocol/load/result.ts';
export type {
  Scenario,
  ScenarioContext,
  ScenarioHttp,
  ScenarioRequest,
  ScenarioResponse,
  ScenarioUser,
} from '../../protocol/load/scenario.ts';
export type { TableOrder } from '../../protocol/load/template.ts';
export { judge, parseThreshold, type Threshold } from '../../protocol/load/threshold.ts';
export { hold } from './hold.ts';
export type { HoldOptions } from './hold-options.ts';
export { load } from './load.ts';
export { LoadError, type LoadErrorKind } from './load-error.ts';
export { LOAD_DEFAULTS, type LoadOptions, type LoadStage } from './load-options.ts';
export type { ScenarioModule, ScenarioOptions, ScenarioSetupContext } from './scenario.ts';
export type { LoadTableOptions, LoadTables } from './tables.ts';
export type { LoadAuth, LoadBody, LoadTargetOptions } from './targets.ts';
