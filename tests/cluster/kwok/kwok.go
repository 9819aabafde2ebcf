//go:build binaries

// Package kwok pins the simulator of nodes and pods; it needs other versions than the control plane, so it has its own module.
package kwok

import _ "sigs.k8s.io/kwok/cmd/kwok"
