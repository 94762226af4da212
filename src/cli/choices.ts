/** Words that options and positionals may take; help, completion and readers share them. */
export const failoverModes = ['auto', 'off', 'confirm'] as const;
export const confirmDefaults = ['go', 'stay'] as const;
export const arbiters = ['none', 'majority'] as const;
export const mirrorActions = ['pause', 'resume', 'fullresync', 'force'] as const;
export const attachMethods = ['nbd', 'fuse'] as const;
export const filesystems = ['ext4', 'xfs'] as const;
export const shells = ['bash', 'zsh'] as const;
