package kinds_test

import (
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
)

func TestDeviceValidation(t *testing.T) {
	type (
		claim = *resourcev1.ResourceClaim
		class = *resourcev1.DeviceClass
		slice = *resourcev1.ResourceSlice
		apis  = *apiregistrationv1.APIService
	)
	exactly := func(o claim) *resourcev1.ExactDeviceRequest { return o.Spec.Devices.Requests[0].Exactly }
	device := func(o slice) *resourcev1.Device { return &o.Spec.Devices[0] }
	policy := func(o slice) *resourcev1.CapacityRequestPolicy { return device(o).Capacity["memory"].RequestPolicy }
	runMutations(t, []mutation{
		on("resourceclaim", "no class", func(o claim) { exactly(o).DeviceClassName = "" }, "spec.devices.requests[0].exactly.deviceClassName: Required value"),
		on("resourceclaim", "class name", func(o claim) { exactly(o).DeviceClassName = "A" }, `spec.devices.requests[0].exactly.deviceClassName: Invalid value: "A"`),
		on("resourceclaim", "count", func(o claim) { exactly(o).Count = -1 }, "spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero"),
		on("resourceclaim", "count of all", func(o claim) { exactly(o).AllocationMode = "All" }, "spec.devices.requests[0].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'"),
		on("resourceclaim", "mode", func(o claim) { exactly(o).AllocationMode = "Some" }, `spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Some"`),
		on("resourceclaim", "both", func(o claim) {
			o.Spec.Devices.Requests[1].Exactly = &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: "All"}
		}, "spec.devices.requests[1]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"),
		on("resourceclaim", "neither", func(o claim) { o.Spec.Devices.Requests[1].FirstAvailable = nil; o.Spec.Devices.Constraints = nil }, "spec.devices.requests[1]: Required value: exactly one of"),
		on("resourceclaim", "twice", func(o claim) {
			o.Spec.Devices.Requests[1].Name = "gpu"
			o.Spec.Devices.Constraints = nil
		}, `spec.devices.requests[1]: Duplicate value: "gpu"`),
		on("resourceclaim", "unknown request", func(o claim) { o.Spec.Devices.Config[0].Requests[0] = "any/small" }, `spec.devices.config[0].requests[0]: Invalid value: "any/small": must be the name of a request`),
		on("resourceclaim", "no attribute", func(o claim) { o.Spec.Devices.Constraints[0].MatchAttribute = nil }, "spec.devices.constraints[0]: Required value: exactly one of"),
		on("resourceclaim", "attribute without a domain", func(o claim) {
			o.Spec.Devices.Constraints[0].MatchAttribute = ptr.To[resourcev1.FullyQualifiedName]("numa")
		}, `spec.devices.constraints[0].matchAttribute: Invalid value: "numa": a fully qualified name must be a domain and a name separated by a slash`),
		on("resourceclaim", "parameters", func(o claim) { o.Spec.Devices.Config[0].Opaque.Parameters = runtime.RawExtension{Raw: []byte("[1]")} },
			`spec.devices.config[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object`),
		on("resourceclaim", "no driver", func(o claim) { o.Spec.Devices.Config[0].Opaque.Driver = "" }, "spec.devices.config[0].opaque.driver: Required value"),
		on("resourceclaim", "toleration", func(o claim) { exactly(o).Tolerations[0].Value = "x" }, "spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"x\": must be empty for operator `Exists`"),
		on("resourceclaim", "too many requests", func(o claim) {
			for range 40 {
				o.Spec.Devices.Requests = append(o.Spec.Devices.Requests, o.Spec.Devices.Requests[0])
			}
		}, "spec.devices.requests: Too many: 42: must have at most 32 items"),
		updating("resourceclaim", "spec", func(o claim) { exactly(o).Count = 2 }, "spec: Invalid value"),
		updating("resourceclaim", "labels", func(o claim) { o.Labels = map[string]string{"a": "b"} }, ""),
		updating("resourceclaimtemplate", "spec", func(o *resourcev1.ResourceClaimTemplate) { o.Spec.Labels = nil }, "spec: Invalid value"),

		on("deviceclass", "no CEL", func(o class) { o.Spec.Selectors[0].CEL = nil }, "spec.selectors[0].cel: Required value"),
		on("deviceclass", "not CEL", func(o class) { o.Spec.Selectors[0].CEL.Expression = "device.driver ==" }, `spec.selectors[0].cel.expression: Invalid value: "device.driver =="`),
		on("deviceclass", "not a condition", func(o class) { o.Spec.Selectors[0].CEL.Expression = `"yes"` }, `spec.selectors[0].cel.expression: Invalid value: "\"yes\"": must evaluate to bool`),
		on("deviceclass", "long CEL", func(o class) { o.Spec.Selectors[0].CEL.Expression = strings.Repeat(" ", 11<<10) + "true" }, "spec.selectors[0].cel.expression: Too long"),
		on("deviceclass", "resource", func(o class) { o.Spec.ExtendedResourceName = ptr.To("cpu") }, `spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name`),

		on("resourceslice", "no driver", func(o slice) { o.Spec.Driver = "" }, "spec.driver: Required value"),
		on("resourceslice", "pool", func(o slice) { o.Spec.Pool.Name = "a//b" }, `spec.pool.name: Invalid value: ""`),
		on("resourceslice", "no slices", func(o slice) { o.Spec.Pool.ResourceSliceCount = 0 }, "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero"),
		on("resourceslice", "nowhere", func(o slice) { o.Spec.NodeName = nil }, "spec: Required value: exactly one of"),
		on("resourceslice", "two places", func(o slice) { o.Spec.AllNodes = ptr.To(true) }, "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of"),
		on("resourceslice", "device name", func(o slice) { device(o).Name = "A" }, `spec.devices[0].name: Invalid value: "A"`),
		on("resourceslice", "twice", func(o slice) { o.Spec.Devices = append(o.Spec.Devices, o.Spec.Devices[0]) }, `spec.devices[1]: Duplicate value: "gpu-0"`),
		on("resourceslice", "no value", func(o slice) { device(o).Attributes["numa"] = resourcev1.DeviceAttribute{} }, `spec.devices[0].attributes[numa]: Invalid value: "": exactly one value must be specified`),
		on("resourceslice", "version", func(o slice) { device(o).Attributes["numa"] = resourcev1.DeviceAttribute{VersionValue: ptr.To("1.2")} },
			`spec.devices[0].attributes[numa].version: Invalid value: "1.2": must be a string compatible with semver.org spec 2.0.0`),
		on("resourceslice", "attribute name", func(o slice) { device(o).Attributes["a-b"] = resourcev1.DeviceAttribute{IntValue: ptr.To[int64](1)} },
			`spec.devices[0].attributes: Invalid value: "a-b": a valid C identifier`),
		on("resourceslice", "placed device", func(o slice) { device(o).AllNodes = ptr.To(true) }, "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set"),
		on("resourceslice", "taint", func(o slice) { device(o).Taints = []resourcev1.DeviceTaint{{Key: "a", Effect: "Explode"}} }, `spec.devices[0].taints[0].effect: Unsupported value: "Explode"`),
		on("resourceslice", "not shared", func(o slice) { device(o).AllowMultipleAllocations = nil }, "spec.devices[0].capacity[memory].requestPolicy: Forbidden: allowMultipleAllocations must be true"),
		on("resourceslice", "no default", func(o slice) { policy(o).Default = nil }, "spec.devices[0].capacity[memory].requestPolicy.default: Required value: required when validRange is defined"),
		on("resourceslice", "default out of range", func(o slice) { policy(o).Default = ptr.To(resource.MustParse("9Gi")) }, `spec.devices[0].capacity[memory].requestPolicy.validRange.max: Invalid value: "9Gi": default is more than max: 8Gi`),
		on("resourceslice", "default between steps", func(o slice) { policy(o).Default = ptr.To(resource.MustParse("1536Mi")) }, `spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: "1536Mi": value is not a multiple`),
		updating("resourceslice", "driver", func(o slice) { o.Spec.Driver = "other.example.com" }, `spec.driver: Invalid value: "other.example.com": field is immutable`),
		updating("resourceslice", "node", func(o slice) { o.Spec.NodeName = ptr.To("n2") }, `spec.nodeName: Invalid value: "n2": field is immutable`),

		on("apiservice", "name", func(o apis) { o.Name = "metrics" }, `metadata.name: Invalid value: "metrics": must be `),
		on("apiservice", "priority", func(o apis) { o.Spec.VersionPriority = 0 }, "spec.versionPriority: Invalid value: 0: must be positive and less than 1000"),
		on("apiservice", "group priority", func(o apis) { o.Spec.GroupPriorityMinimum = 20001 }, "spec.groupPriorityMinimum: Invalid value: 20001"),
		on("apiservice", "trusts all and one", func(o apis) { o.Spec.CABundle = []byte("x") }, "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"),
		on("apiservice", "local", func(o apis) { o.Spec.Service = nil }, "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify"),
		on("apiservice", "service", func(o apis) { o.Spec.Service.Name = "" }, "spec.service.name: Required value"),
	})
}

func TestResourceClaimStatusValidation(t *testing.T) {
	t.Parallel()
	k, o := createdFrom(t, newTable(t), "testdata/kinds/resourceclaim.txtar")
	old := o.(*resourcev1.ResourceClaim)
	result := resourcev1.DeviceRequestAllocationResult{Request: "gpu", Driver: "gpu.example.com", Pool: "n1", Device: "gpu-0"}
	allocated := func(c *resourcev1.ResourceClaim) {
		c.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{result}}}
	}
	reserved := func(c *resourcev1.ResourceClaim) {
		c.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "web", UID: "1"}}
	}
	changed := func(changes ...func(*resourcev1.ResourceClaim)) *resourcev1.ResourceClaim {
		c := old.DeepCopy()
		for _, f := range changes {
			f(c)
		}
		return c
	}
	going := func(c *resourcev1.ResourceClaim) { c.DeletionTimestamp = &metav1.Time{Time: goldenTime} }
	tests := []struct {
		name     string
		old, new *resourcev1.ResourceClaim
		want     string
	}{
		{"allocated and reserved", old, changed(allocated, reserved), ""},
		{"reserved only", old, changed(reserved), "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"},
		{"for an unknown request", old, changed(allocated, func(c *resourcev1.ResourceClaim) { c.Status.Allocation.Devices.Results[0].Request = "x" }), "status.allocation.devices.results[0].request: Invalid value"},
		{"allocated anew", changed(allocated), changed(allocated, func(c *resourcev1.ResourceClaim) { c.Status.Allocation.Devices.Results[0].Device = "gpu-1" }), "status.allocation: Invalid value"},
		{"given back", changed(allocated), changed(), ""},
		{"reserved while it goes", changed(allocated, going), changed(allocated, reserved, going), "status.reservedFor: Forbidden: new entries may not be added"},
		{"a device's status", changed(allocated), changed(allocated, func(c *resourcev1.ResourceClaim) {
			c.Status.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "gpu.example.com", Pool: "n1", Device: "gpu-0", NetworkData: &resourcev1.NetworkDeviceData{IPs: []string{"10.0.0.1/24"}}}}
		}), ""},
		{"the status of another device", changed(allocated), changed(allocated, func(c *resourcev1.ResourceClaim) {
			c.Status.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "gpu.example.com", Pool: "n1", Device: "gpu-7"}}
		}), "status.devices[0]: Invalid value: \"gpu.example.com/n1/gpu-7\": must be an allocated device in the claim"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			errs := k.Subresources["status"].Validate(txn.Object(test.new), txn.Object(test.old))
			switch {
			case test.want == "" && len(errs) > 0:
				t.Errorf("refused: %v", errs.ToAggregate())
			case test.want != "" && (len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), test.want)):
				t.Errorf("errors:\n%v\nwant one:\n%s", errs.ToAggregate(), test.want)
			}
		})
	}
}
