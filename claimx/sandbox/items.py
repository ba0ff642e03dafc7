"""Makes media items and video collaborations."""

from __future__ import annotations

from datetime import timedelta

from claimx.sandbox.entities import Link, MediaFile, Project, Video
from claimx.sandbox.files import KINDS
from claimx.sandbox.forms import Author, Sheet
from claimx.sandbox.matchers import one_of
from claimx.sandbox.people import FIRST, LAST


class ItemAuthor(Author):
    """Writes media items and video collaborations."""

    def media(self, number: int, project: Project) -> MediaFile:
        """Make a media file of the usual kinds (for the others see `claimx.sandbox.specials`)."""
        v, rng = self.vendor, self.rng
        kind = v.pick(
            *("jpg",) * 12,
            *("png",) * 3,
            *("pdf",) * 3,
            *"mp4 mov gif webp bmp heic txt csv xml json docx html".split(),
        )
        low, high = self.sizes
        size = int(low * (high / low) ** rng.random())
        extension = KINDS[kind].extension
        if kind == "jpg":
            extension = v.pick("jpg", "JPG", "jpeg")
        name: str | None = (
            v.pick(f"photo_{number}", f"IMG {number}", f"Küche-{number}", f"report.v{number % 9}")
            + f".{extension}"
        )
        if v.maybe(0.03):
            name = None
        item = MediaFile(number, project.project_id, name, kind, size)
        item.link = Link(style=v.pick("claimx", "claimx", "claimx", "s3", "s3", "open", "moved"))
        self.describe(item)
        project.media.append(item)
        return item

    def describe(self, item: MediaFile) -> None:
        """Write the item as the API has it; the link is put in when it is answered."""
        v = self.vendor
        sheet = Sheet()
        put = sheet.put
        put("mediaID", "media_id", v.ident(item.media_id))
        word = KINDS[item.kind].word
        put("mediaType", "file_type", v.text(word, nulls=0.15))
        sheet.raw["mediaName"] = item.name
        sheet.row["file_name"] = item.name
        put("mediaDescription", "media_description", v.text("kitchen, east wall", nulls=0.5))
        put("mediaComment", "media_comment", v.text("see \u201cleak\u201d", nulls=0.6))
        put("latitude", "latitude", v.real(round(self.rng.uniform(-60, 60), 6)))
        put("longitude", "longitude", v.real(round(self.rng.uniform(-170, 170), 6)))
        put("gpsSource", "gps_source", v.text("EXIF", nulls=0.5))
        put("takenDate", "taken_date", v.moment(self.past()))
        put("expiresAt", "expires_at", v.moment(self.at + timedelta(days=3), nulls=0.5))
        sheet.row["project_id"] = str(item.project_id)
        sheet.row["task_assignment_id"] = None
        item.raw, item.row = sheet.raw, sheet.row

    def video(self, number: int, project: Project) -> Video:
        """Make a video collaboration of the project."""
        v, rng = self.vendor, self.rng
        sheet = Sheet()
        put = sheet.put
        put(v.pick("videoCollaborationId", "id"), "video_collaboration_id", v.ident(number))
        put("claimId", "claim_id", v.ident(project.project_id))
        put("mfn", "mfn", v.text(f"MFN{project.project_id:08d}", nulls=0.3))
        put("claimNumber", "claim_number", v.text(f"CN-{number}"))
        put("policyNumber", "policy_number", v.text(f"POL-{number}", nulls=0.3))
        put("emailUserName", "email_user_name", v.text(f"rep{number % 40}@carrier.example"))
        put("claimRepFirstName", "claim_rep_first_name", v.text(v.pick(*FIRST)))
        put("claimRepLastName", "claim_rep_last_name", v.text(v.pick(*LAST)))
        put("claimRepFullName", "claim_rep_full_name", v.text("Rep Of The Claim"))
        for name, column in (
            ("numberOfVideos", "number_of_videos"),
            ("numberOfPhotos", "number_of_photos"),
            ("numberOfViewers", "number_of_viewers"),
            ("sessionCount", "session_count"),
        ):
            put(name, column, v.whole(rng.randrange(20)))
        seconds = round(rng.uniform(1, 4000), 3)
        put("totalTimeSeconds", "total_time_seconds", (repr(seconds), seconds))
        put("totalTime", "total_time", v.text("00:12:34"))
        put("createdDate", "created_date", v.moment(self.past()))
        put("liveCallFirstSession", "live_call_first_session", v.moment(self.past()))
        put("liveCallLastSession", "live_call_last_session", v.moment(self.past()))
        put("companyId", "company_id", v.ident(12, nulls=0.2))
        put("companyName", "company_name", v.text("Northwind Mutual (sample)"))
        put("guid", "guid", v.text(f"{number:08x}-0000-4000-8000-000000000000"))
        sheet.row["project_id"] = one_of([project.key, sheet.row["claim_id"]])
        return Video(number, project.project_id, sheet.raw, sheet.row)
