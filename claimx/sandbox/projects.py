"""Makes projects with their customers, addresses and teams."""

from __future__ import annotations

from typing import Any

from claimx.sandbox.entities import Project
from claimx.sandbox.forms import Author, Sheet
from claimx.sandbox.matchers import folded
from claimx.sandbox.people import CITIES, FIRST, LAST, LOSSES


class ProjectAuthor(Author):
    """Writes projects in all the forms that the API uses."""

    def project(self, number: int) -> Project:
        """Make a project with its customer, address and team."""
        v, rng = self.vendor, self.rng
        sheet = Sheet()
        put = sheet.put
        put("projectId", "project_id", v.ident(number))
        put("projectNumber", "project_number", v.text(f"PN-{number}", nulls=0.02))
        mfn = v.text(f"MFN{number:08d}", nulls=0.2)
        put(v.pick("mfn", "masterFileName"), "master_file_name", mfn)
        put("secondaryNumber", "secondary_number", v.text(f"S-{number % 977}", nulls=0.5))
        put("status", "status", v.text(v.pick("OPEN", "CLOSED", "IN_PROGRESS")))
        for name, column in (
            ("createdDate", "created_date"),
            ("dateOfLoss", "date_of_loss"),
            ("dateReceived", "date_received"),
            ("dateContacted", "date_contacted"),
            ("plannedInspectionDate", "planned_inspection_date"),
            ("dateInspected", "date_inspected"),
            ("appointmentDate", "appointment_date"),
        ):
            put(name, column, v.moment(self.past()))
        put("typeOfLoss", "type_of_loss", v.text(v.pick(*LOSSES)))
        put("causeOfLoss", "cause_of_loss", v.text(v.pick(*LOSSES)))
        put("lossDescription", "loss_description", v.text(self._story()))
        put("yearBuilt", "year_built", v.whole(rng.randrange(1890, 2026)))
        put("squareFootage", "square_footage", v.whole(rng.randrange(300, 9000)))
        put("customAttribute1", "custom_attribute1", v.text("north", nulls=0.6))
        put("customAttribute2", "custom_attribute2", v.ident(rng.randrange(1, 99), nulls=0.6))
        put("customAttribute3", "custom_attribute3", v.text("ünïcode ✓", nulls=0.6))
        unique = v.text(f"ext-{number}", nulls=0.4)
        put("customExternalUniqueId", "custom_external_unique_id", unique)
        self._address(sheet)
        customer, contact, email = self._customer(number)
        sheet.row.update(customer.row)
        sheet.raw["customerInformation"] = customer.raw
        contacts: dict[tuple[str, str], dict[str, Any]] = {}
        if contact is not None and email is not None:
            contacts[(email, "POLICYHOLDER")] = contact
        team = self._team(contacts)
        company, company_value = v.text("Northwind Mutual (sample)", nulls=0.1)
        sheet.row["company_name"] = company_value
        raw = {"project": sheet.raw, "teamMembers": team, "companyName": company}
        return Project(
            project_id=number,
            raw=raw,
            row=sheet.row,
            contacts=contacts,
            customer_email=email,
            api_mfn=mfn[1],
            wrapped=v.maybe(0.6),
            media_shape=v.pick("list", "data", "media"),
            honours_filter=v.maybe(0.7),
            video_shape=v.pick("list", "data", "collaborations", "videoCollaboration", "object"),
        )

    def _address(self, sheet: Sheet) -> None:
        """Put an address in, whose section the API leaves out now and then."""
        v, rng = self.vendor, self.rng
        address = Sheet()
        for name, column, value in (
            ("street1", "street1", f"{rng.randrange(1, 999)} Example Street"),
            ("street2", "street2", f"Unit {rng.randrange(1, 40)}"),
            ("city", "city", v.pick(*CITIES)),
            ("stateProvince", "state_province", v.pick("TX", "UT", "OH")),
            ("county", "county", f"{v.pick(*CITIES)} County"),
            ("country", "country", "US"),
        ):
            address.put(name, column, v.text(value, nulls=0.2))
        code = rng.randrange(10000, 99999)
        address.put(
            "zipPostcode", "zip_postcode", v.pick((code, str(code)), (f"0{code % 10000:04d}",) * 2)
        )
        sheet.row.update(address.row)
        if v.maybe(0.95):
            sheet.raw["address"] = address.raw
        else:
            sheet.row.update(dict.fromkeys(address.row))

    def _story(self) -> str:
        words = 'roof tiles ceiling wet hail broken window basement garage "quoted" naïve'.split()
        return " ".join(self.rng.choice(words) for _ in range(6)) + ".\nSecond line."

    def _customer(self, number: int) -> tuple[Sheet, dict[str, Any] | None, str | None]:
        v = self.vendor
        sheet = Sheet()
        sheet.put("firstName", "customer_first_name", v.text(v.pick(*FIRST)))
        sheet.put("lastName", "customer_last_name", v.text(v.pick(*LAST)))
        sheet.put("customBusinessName", "custom_business_name", v.text("Acme Bakery", nulls=0.8))
        sheet.put("businessLineType", "business_line_type", v.text("RESIDENTIAL", nulls=0.3))
        email = self._emails(sheet, number)
        phone, code = self._phones(sheet, number)
        sheet.row["primary_email"] = None if email is None else folded(email)
        sheet.row["primary_phone"] = phone
        sheet.row["primary_phone_country_code"] = code
        if email is None:
            return sheet, None, None
        contact = {
            "first_name": sheet.row["customer_first_name"],
            "last_name": sheet.row["customer_last_name"],
            "phone_number": phone,
            "phone_country_code": code,
            "is_primary_contact": True,
            "task_assignment_id": None,
            "video_collaboration_id": None,
        }
        return sheet, contact, email.lower()

    def _emails(self, sheet: Sheet, number: int) -> str | None:
        v = self.vendor
        first, second = f"Holder{number}@Example.com", f"other.{number}@example.org"
        match int(self.rng.random() * 8):
            case 0:
                emails: Any = [
                    {"emailAddress": second, "primary": False},
                    {"emailAddress": f" {first} ", "primary": v.pick(True, "true")},
                ]
                found: str | None = first
            case 1:
                emails = [
                    {"emailAddress": "  ", "primary": True},
                    {"emailAddress": second, "primary": False},
                ]
                found = second
            case 2:
                emails, found = v.pick([], None), None
            case 3:
                emails, found = [{"emailAddress": None, "primary": True}], None
            case 4:
                emails, found = [{"emailAddress": first}, {"emailAddress": second}], first
            case _:
                emails, found = [{"emailAddress": first, "primary": True}], first
        sheet.raw["emails"] = emails
        return found

    def _phones(self, sheet: Sheet, number: int) -> tuple[str | None, str | None]:
        v = self.vendor
        local = 5550000 + number % 9999
        match int(self.rng.random() * 6):
            case 0:
                phones: Any = v.pick([], None)
                found: tuple[str | None, str | None] = (None, None)
            case 1:
                phones, found = (
                    [
                        {"phoneNumber": " ", "phoneCountryCode": 44},
                        {"phoneNumber": local, "phoneCountryCode": 1},
                    ],
                    (str(local), "1"),
                )
            case 2:
                phones, found = (
                    [{"phoneNumber": f"+1 555 {number % 9999:04d} ", "phoneCountryCode": None}],
                    (f"+1 555 {number % 9999:04d}", None),
                )
            case _:
                phones, found = (
                    [{"phoneNumber": str(local), "phoneCountryCode": v.pick(1, "1", " 1")}],
                    (str(local), "1"),
                )
        sheet.raw["phones"] = phones
        return found

    def _team(self, contacts: dict[tuple[str, str], dict[str, Any]]) -> Any:
        v = self.vendor
        if v.maybe(0.1):
            return v.pick(None, [])
        team = []
        for seat in range(self.rng.randrange(1, 3)):
            name = f"Rep.{self.rng.randrange(40)}.{seat}@carrier.example"
            primary, is_primary = v.flag(value=seat == 0)
            mfn, mfn_value = v.text(f"T-{self.rng.randrange(9999)}", nulls=0.4)
            team.append(
                {"userName": v.pick(name, f" {name}"), "primaryContact": primary, "mfn": mfn}
            )
            contacts[(name.lower(), "CLAIM_REP")] = {
                "first_name": None,
                "last_name": None,
                "phone_number": None,
                "phone_country_code": None,
                "is_primary_contact": is_primary,
                "master_file_name": mfn_value,
                "task_assignment_id": None,
                "video_collaboration_id": None,
            }
        if v.maybe(0.1):
            team.append({"userName": v.pick(None, " "), "primaryContact": False, "mfn": "no row"})
        return team
