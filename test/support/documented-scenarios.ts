/** The failures of two and three nodes that README.md's tables describe, each a file of test/scenarios/files. */
export const documentedScenarios: readonly string[] = [
  'two-nodes-1-source-dies.yaml',
  'two-nodes-2-resync-cut-short.yaml',
  'two-nodes-3-both-die-source-returns-first.yaml',
  'two-nodes-4-both-die-target-returns-first.yaml',
  'three-nodes-wait-for-previous-source.yaml',
  'three-nodes-previous-source-never-returns.yaml',
];
