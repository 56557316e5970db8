package tck

import "maps"

// table maps the IDs of requirements to what tests them.
type table map[string]func(*trial)

// cases holds one case for each requirement.
var cases = func() table {
	all := make(table)
	for _, t := range []table{
		valueCases, messageCases, extensionCases, orderCases, accessPointCases, producerCases, batchCases, consumerCases, pullCases,
		pushCases, suspendCases, transactionCases, resourceCases, filterCases, bindingCases, delayCases, deadLetterCases, deduplicationCases, assignedCases, transactedCases, checkCases, statsCases, routeCases, streamCases, requestCases, lifecycleCases, errorCases, contextCases,
		settleCases, leaseCases, faultCases, honestyCases,
	} {
		maps.Copy(all, t)
	}
	return all
}()
