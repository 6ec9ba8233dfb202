package kinds

import (
	"net/netip"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// deviceID names one device, or one share of it.
type deviceID struct{ driver, pool, device, share string }

// checkResourceClaimStatus holds what schedulers and drivers write to what the
// claim asks for: an allocation is made once, and only an allocated claim is
// reserved.
func checkResourceClaimStatus(o, old *resourcev1.ResourceClaim) fieldErrors {
	c, p := &checker{}, field.NewPath("status")
	s := &o.Status
	c.reservations(p.Child("reservedFor"), o, old)
	switch {
	case s.Allocation == nil:
	case old != nil && old.Status.Allocation != nil:
		if !alike(s.Allocation, old.Status.Allocation) {
			c.invalid(p.Child("allocation"), s.Allocation, immutable)
		}
	default:
		c.allocation(p.Child("allocation"), s.Allocation, namesOf(&o.Spec.Devices))
	}
	allocated := map[deviceID]bool{}
	if s.Allocation != nil {
		for _, r := range s.Allocation.Devices.Results {
			allocated[deviceID{r.Driver, r.Pool, r.Device, string(deref(r.ShareID, ""))}] = true
		}
	}
	seen := map[deviceID]bool{}
	for i := range s.Devices {
		d, at := &s.Devices[i], p.Child("devices").Index(i)
		id := deviceID{d.Driver, d.Pool, d.Device, deref(d.ShareID, "")}
		c.deviceStatus(at, d)
		if !allocated[id] {
			c.invalid(at, d.Driver+"/"+d.Pool+"/"+d.Device, "must be an allocated device in the claim")
		}
		if seen[id] {
			c.add(field.Duplicate(at, d.Driver+"/"+d.Pool+"/"+d.Device))
		}
		seen[id] = true
	}
	return c.errs
}

func (c *checker) reservations(p *path, o, old *resourcev1.ResourceClaim) {
	refs := o.Status.ReservedFor
	if !c.fewer(p, len(refs), resourcev1.ResourceClaimReservedForMaxSize) {
		return
	}
	var seen nameSet
	for i, r := range refs {
		at := p.Index(i)
		for _, part := range [...][2]string{{"resource", r.Resource}, {"name", r.Name}, {"uid", string(r.UID)}} {
			if part[1] == "" {
				c.required(at.Child(part[0]), "")
			}
		}
		if r.UID != "" && !seen.add(string(r.UID)) {
			c.add(field.Duplicate(at, r.UID))
		}
	}
	if len(refs) > 0 && o.Status.Allocation == nil {
		c.forbidden(p, "may not be specified when `allocated` is not set")
		return
	}
	if o.DeletionTimestamp == nil || old == nil {
		return
	}
	had := map[resourcev1.ResourceClaimConsumerReference]bool{}
	for _, r := range old.Status.ReservedFor {
		had[r] = true
	}
	for _, r := range refs {
		if !had[r] {
			c.forbidden(p, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")
			return
		}
	}
}

func (c *checker) allocation(p *path, a *resourcev1.AllocationResult, names requestNames) {
	if at := p.Child("devices", "results"); c.fewer(at, len(a.Devices.Results), resourcev1.AllocationResultsMaxSize) {
		for i := range a.Devices.Results {
			r := &a.Devices.Results[i]
			c.requestRef(at.Index(i).Child("request"), r.Request, names)
			c.deviceName(at.Index(i), r.Driver, r.Pool, r.Device)
		}
	}
	if at := p.Child("devices", "config"); c.fewer(at, len(a.Devices.Config), 2*resourcev1.DeviceConfigMaxSize) {
		for i := range a.Devices.Config {
			d := &a.Devices.Config[i]
			oneOf(c, at.Index(i), "source", d.Source, resourcev1.AllocationConfigSourceClass, resourcev1.AllocationConfigSourceClaim)
			c.requestRefs(at.Index(i).Child("requests"), d.Requests, names)
			c.deviceConfiguration(at.Index(i), &d.DeviceConfiguration, false)
		}
	}
	if a.NodeSelector != nil {
		c.nodeSelector(p.Child("nodeSelector"), a.NodeSelector)
	}
}

func (c *checker) deviceName(p *path, driver, pool, device string) {
	c.driverName(p, "driver", driver)
	c.poolName(p.Child("pool"), pool)
	c.dnsLabel(p, "device", device)
}

// poolName checks DNS subdomains with slashes between them.
func (c *checker) poolName(p *path, name string) {
	switch {
	case name == "":
		c.required(p, "")
	case len(name) > resourcev1.PoolNameMaxLength:
		c.add(field.TooLong(p, "", resourcev1.PoolNameMaxLength))
	default:
		for part := range strings.SplitSeq(name, "/") {
			for _, m := range validation.IsDNS1123Subdomain(part) {
				c.invalid(p, part, m)
			}
		}
	}
}

func (c *checker) deviceStatus(p *path, d *resourcev1.AllocatedDeviceStatus) {
	c.deviceName(p, d.Driver, d.Pool, d.Device)
	if c.fewer(p.Child("conditions"), len(d.Conditions), resourcev1.AllocatedDeviceStatusMaxConditions) {
		c.add(metavalidation.ValidateConditions(d.Conditions, p.Child("conditions"))...)
	}
	if d.Data != nil && len(d.Data.Raw) > 0 {
		c.object(p.Child("data"), d.Data.Raw, resourcev1.AllocatedDeviceStatusDataMaxLength, false)
	}
	n, at := d.NetworkData, p.Child("networkData")
	if n == nil {
		return
	}
	if len(n.InterfaceName) > resourcev1.NetworkDeviceDataInterfaceNameMaxLength {
		c.add(field.TooLong(at.Child("interfaceName"), "", resourcev1.NetworkDeviceDataInterfaceNameMaxLength))
	}
	if len(n.HardwareAddress) > resourcev1.NetworkDeviceDataHardwareAddressMaxLength {
		c.add(field.TooLong(at.Child("hardwareAddress"), "", resourcev1.NetworkDeviceDataHardwareAddressMaxLength))
	}
	if !c.fewer(at.Child("ips"), len(n.IPs), resourcev1.NetworkDeviceDataMaxIPs) {
		return
	}
	var seen nameSet
	for i, ip := range n.IPs {
		prefix, err := netip.ParsePrefix(ip)
		switch {
		case err != nil:
			c.invalid(at.Child("ips").Index(i), ip, "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)")
		case prefix.String() != ip:
			c.invalid(at.Child("ips").Index(i), ip, "must be in canonical form (\""+prefix.String()+"\")")
		case !seen.add(ip):
			c.add(field.Duplicate(at.Child("ips").Index(i), ip))
		}
	}
}
