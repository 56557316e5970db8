package oms

import (
	"regexp"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var versionForm = regexp.MustCompile(`^((?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*))\.(?:0|[1-9][0-9]*)(?:-[0-9A-Za-z.-]+)?$`)

// checkSpecVersion refuses a driver whose specification version is malformed
// or differs in major.minor from this module's (R050). The errors match
// CodeDriverUnavailable as well (C17).
func checkSpecVersion(info spi.Info) error {
	theirs := versionForm.FindStringSubmatch(info.SpecVersion)
	if theirs == nil {
		return om.NewError(om.CodeMalformedVersion, "open", info.Name,
			"the driver's specification version %q is not of the form X.Y.Z or X.Y.Z-pre: %w", info.SpecVersion, om.CodeDriverUnavailable)
	}
	ours := versionForm.FindStringSubmatch(om.SpecVersion)
	if theirs[1] != ours[1] {
		return om.NewError(om.CodeIncompatibleVersion, "open", info.Name,
			"the driver follows specification %s, this module %s; major and minor must be equal: %w", info.SpecVersion, om.SpecVersion, om.CodeDriverUnavailable)
	}
	return nil
}
