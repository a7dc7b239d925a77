// Package exports is where the generated code finds the plugin; engate.Register fills it.
package exports

import (
	delivery "example.com/{{name}}/engate/internal/bindings/engate_plugin_delivery"
	plugin "example.com/{{name}}/engate/internal/bindings/engate_plugin_plugin"
	types "example.com/{{name}}/engate/internal/bindings/engate_plugin_types"
	wit "example.com/{{name}}/engate/internal/wit/types"
)

// Planned is a plan, or why there is none.
type Planned = wit.Result[delivery.Plan, types.Problem]

// What the engine calls.
var (
	Describe  func() plugin.Manifest
	Transform func(delivery.Event, delivery.DeliveryInfo, delivery.Endpoint, delivery.Attempt) Planned
	Interpret func(delivery.Exchange) delivery.Verdict
)
