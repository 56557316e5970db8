// Package faults breaks things and looks what the reference broker makes of it:
// it kills the process under load, damages every file of a store, fills the
// disk, and fails single steps of a commit. It holds tests only.
//
// Flags of the test binary:
//
//	-faults.rounds=N   how often TestKill and TestKillWithRetention kill
//	-faults.seed=N     repeats a run; each run prints its seed
//	-faults.full       TestCorruption with all damages, TestRetentionGivesSpaceBack in full
//	                   length and with its bound on latency
//
// docs/reliability.md says what the tests prove.
package faults
