/** That the native addon cannot be loaded: its message is all that a reader needs. Nothing is sent then, by anyone. */

export class AddonError extends Error {
  override readonly name = 'AddonError';
  /** Not every error of a thread keeps its class on the way to another. */
  readonly code = 'ADDON_NOT_LOADED';
}
